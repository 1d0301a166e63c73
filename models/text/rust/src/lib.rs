//! C ABI of the text library; ../text_abi.h documents it. No panic leaves this library.

mod byte_level;
mod byte_pair;
mod calendar;
mod chat_template;
mod error;
mod grammar;
mod grammar_abi;
mod json_tokenizer;
mod pre_tokenizer;
mod pre_tokenizer_rules;
mod python_text;
mod schema;
mod sentence_piece;
mod tokenizer;
mod unigram;
mod vocabulary;

use std::panic::{catch_unwind, AssertUnwindSafe};

use chat_template::ChatTemplate;
use error::{Code, Error};
use tokenizer::{Settings, Tokenizer};
use vocabulary::Vocabulary;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatonBytes {
    data: *const u8,
    size: usize,
}

impl BatonBytes {
    /// The bytes of the view.
    ///
    /// # Safety
    /// `data` points to `size` readable bytes that outlive 'a, or `size` is 0.
    unsafe fn as_slice<'a>(self) -> &'a [u8] {
        slice_of(self.data, self.size)
    }

    /// # Safety
    /// As for as_slice.
    pub(crate) unsafe fn as_str<'a>(self, what: &str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.as_slice())
            .map_err(|_| Error::invalid(format!("{what}: not valid UTF-8")))
    }
}

/// # Safety
/// `data` points to `count` readable elements that outlive 'a, or `count` is 0.
pub(crate) unsafe fn slice_of<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, count)
}

#[repr(C)]
pub struct BatonBuffer {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct BatonIds {
    data: *mut i32,
    size: usize,
    capacity: usize,
}

#[repr(C)]
pub struct BatonVocabulary {
    model: BatonBytes,
    pre: BatonBytes,
    tokens: *const BatonBytes,
    token_count: usize,
    token_types: *const i32,
    token_type_count: usize,
    scores: *const f32,
    score_count: usize,
    merges: *const BatonBytes,
    merge_count: usize,
    charsmap: BatonBytes,
    add_space_prefix: bool,
    remove_extra_whitespaces: bool,
}

pub(crate) fn buffer_of(bytes: Vec<u8>) -> BatonBuffer {
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    BatonBuffer { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
}

/// Runs `body`; writes its message to `error` where it fails or panics.
///
/// # Safety
/// `error` can be written.
pub(crate) unsafe fn guarded(error: *mut BatonBuffer, body: impl FnOnce() -> Result<(), Error>) -> Code {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return Code::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("unknown");
            Error::internal(format!("panic in the text library: {text}"))
        }
    };
    error.write(buffer_of(failure.message.into_bytes()));
    failure.code
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_new(
    vocabulary: *const BatonVocabulary,
    out: *mut *mut Tokenizer,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let raw = &*vocabulary;
        let tokens = slice_of(raw.tokens, raw.token_count);
        let merges = slice_of(raw.merges, raw.merge_count);
        let checked = Vocabulary::new(
            tokens.iter().map(|token| token.as_slice()).collect(),
            slice_of(raw.token_types, raw.token_type_count),
            slice_of(raw.scores, raw.score_count),
            merges.iter().map(|merge| merge.as_slice()).collect(),
        )?;
        let settings = Settings {
            model: raw.model.as_str("tokenizer.ggml.model")?,
            pre: raw.pre.as_str("tokenizer.ggml.pre")?,
            charsmap: raw.charsmap.as_slice(),
            adds_space_prefix: raw.add_space_prefix,
            merges_spaces: raw.remove_extra_whitespaces,
        };
        let tokenizer = Tokenizer::new(&checked, &settings)?;
        out.write(Box::into_raw(Box::new(tokenizer)));
        Ok(())
    })
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_from_json(
    json: BatonBytes,
    out: *mut *mut Tokenizer,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let tokenizer = Tokenizer::from_json(json.as_slice())?;
        out.write(Box::into_raw(Box::new(tokenizer)));
        Ok(())
    })
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_size(tokenizer: *const Tokenizer) -> usize {
    (*tokenizer).size()
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_special_ids(
    tokenizer: *const Tokenizer,
    out: *mut BatonIds,
) {
    let ids = (*tokenizer).json().map_or(Vec::new(), |json| {
        json.special_ids().map(|id| id as i32).collect()
    });
    let mut ids = std::mem::ManuallyDrop::new(ids);
    out.write(BatonIds { data: ids.as_mut_ptr(), size: ids.len(), capacity: ids.capacity() });
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_first_id(tokenizer: *const Tokenizer) -> i32 {
    (*tokenizer).json().and_then(|json| json.first()).map_or(-1, |id| id as i32)
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_id_of(
    tokenizer: *const Tokenizer,
    token: BatonBytes,
) -> i32 {
    let Ok(text) = std::str::from_utf8(token.as_slice()) else { return -1 };
    (*tokenizer).json().and_then(|json| json.id_of(text)).map_or(-1, |id| id as i32)
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_adds_bos(tokenizer: *const Tokenizer) -> bool {
    (*tokenizer).adds_bos()
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_adds_eos(tokenizer: *const Tokenizer) -> bool {
    (*tokenizer).adds_eos()
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_encode(
    tokenizer: *const Tokenizer,
    text: BatonBytes,
    parse_special: bool,
    out: *mut BatonIds,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let text = String::from_utf8_lossy(text.as_slice());
        let mut ids = std::mem::ManuallyDrop::new((*tokenizer).encode(&text, parse_special)?);
        out.write(BatonIds { data: ids.as_mut_ptr(), size: ids.len(), capacity: ids.capacity() });
        Ok(())
    })
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_tokenizer_token_bytes(
    tokenizer: *const Tokenizer,
    id: usize,
) -> BatonBytes {
    let bytes = (*tokenizer).token_bytes(id);
    BatonBytes { data: bytes.as_ptr(), size: bytes.len() }
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_chat_template_new(
    source: BatonBytes,
    globals_json: BatonBytes,
    out: *mut *mut ChatTemplate,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let source = source.as_str("tokenizer.chat_template")?;
        let template = ChatTemplate::new(source, globals_json.as_str("globals")?)?;
        out.write(Box::into_raw(Box::new(template)));
        Ok(())
    })
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_chat_template_free(template: *mut ChatTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_chat_template_render(
    template: *const ChatTemplate,
    messages_json: BatonBytes,
    variables_json: BatonBytes,
    add_generation_prompt: bool,
    local_seconds: i64,
    out: *mut BatonBuffer,
    error: *mut BatonBuffer,
) -> Code {
    guarded(error, || {
        let messages = messages_json.as_str("messages")?;
        let variables = variables_json.as_str("chat template variables")?;
        let text =
            (*template).render(messages, variables, add_generation_prompt, local_seconds)?;
        out.write(buffer_of(text.into_bytes()));
        Ok(())
    })
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_buffer_free(buffer: BatonBuffer) {
    if !buffer.data.is_null() {
        drop(Vec::from_raw_parts(buffer.data, buffer.size, buffer.capacity));
    }
}

/// # Safety
/// See text_abi.h.
#[no_mangle]
pub unsafe extern "C" fn baton_ids_free(ids: BatonIds) {
    if !ids.data.is_null() {
        drop(Vec::from_raw_parts(ids.data, ids.size, ids.capacity));
    }
}
