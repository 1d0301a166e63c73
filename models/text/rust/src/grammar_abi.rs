//! C ABI of grammars; ../grammar_abi.h documents it.

use crate::error::Code;
use crate::grammar::{check_source, GrammarCompiler, GrammarKind, Matcher};
use crate::schema;
use crate::tokenizer::Tokenizer;
use crate::{buffer_of, guarded, slice_of, BatonBuffer, BatonBytes};

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_grammar_compiler_new(
    tokenizer: *const Tokenizer,
    is_special: *const bool,
    token_count: usize,
    ends: *const i32,
    end_count: usize,
    out: *mut *mut GrammarCompiler,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let compiler = GrammarCompiler::new(
            &*tokenizer,
            slice_of(is_special, token_count),
            slice_of(ends, end_count),
        )?;
        out.write(Box::into_raw(Box::new(compiler)));
        Ok(())
    })
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_grammar_compiler_free(compiler: *mut GrammarCompiler) {
    if !compiler.is_null() {
        drop(Box::from_raw(compiler));
    }
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_grammar_compile(
    compiler: *const GrammarCompiler,
    kind: i32,
    source: BatonBytes,
    out: *mut *mut Matcher,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let kind = GrammarKind::from_number(kind)?;
        let matcher = (*compiler).compile(kind, source.as_str("the grammar")?)?;
        out.write(Box::into_raw(Box::new(matcher)));
        Ok(())
    })
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_grammar_schema(
    source: BatonBytes,
    lenient: bool,
    out: *mut BatonBuffer,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let source = source.as_str("the schema")?;
        check_source(source)?;
        out.write(buffer_of(schema::prepare(source, lenient)?.to_string().into_bytes()));
        Ok(())
    })
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_matcher_copy(
    matcher: *const Matcher,
    out: *mut *mut Matcher,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        out.write(Box::into_raw(Box::new((*matcher).copy())));
        Ok(())
    })
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_matcher_free(matcher: *mut Matcher) {
    if !matcher.is_null() {
        drop(Box::from_raw(matcher));
    }
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_matcher_consume(
    matcher: *mut Matcher,
    ids: *const i32,
    count: usize,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || (*matcher).consume(slice_of(ids, count)))
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_matcher_mask(
    matcher: *mut Matcher,
    words: *mut u32,
    word_count: usize,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        (*matcher).mask(std::slice::from_raw_parts_mut(words, word_count))
    })
}

/// # Safety
/// See grammar_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_matcher_is_complete(matcher: *const Matcher) -> bool {
    (*matcher).is_complete()
}
