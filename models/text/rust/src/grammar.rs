//! Grammars that generated text must follow: compiled once, then one bit mask of allowed tokens a
//! step. What a client sends is hostile until it is compiled: sizes, nesting, memory and the work of
//! one step are limited.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher as Inner, ParserFactory};

use crate::error::Error;
use crate::schema;
use crate::tokenizer::Tokenizer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrammarKind {
    JsonSchema,
    Regex,
    Lark,
}

impl GrammarKind {
    /// Of a BatonGrammarKind (../grammar_abi.h).
    pub fn from_number(number: i32) -> Result<GrammarKind, Error> {
        match number {
            0 => Ok(GrammarKind::JsonSchema),
            1 => Ok(GrammarKind::Regex),
            2 => Ok(GrammarKind::Lark),
            other => Err(Error::internal(format!("grammar kind {other}"))),
        }
    }
}

/// Bytes of a grammar's source.
const SOURCE_LIMIT_BYTES: usize = 256 << 10;
/// Brackets of a source that are open at once: parsers recurse into them.
const NESTING_LIMIT: usize = 256;
const COMPILE_STACK_BYTES: usize = 16 << 20;

/// About 50,000 units of lexer fuel take a millisecond to compile, 14,000 in a step; 20,000 items a
/// millisecond in a step.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 100_000,
        step_max_items: 50_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

/// The vocabulary as grammars see it. Immutable; shared by threads.
pub struct GrammarCompiler {
    factory: ParserFactory,
}

impl GrammarCompiler {
    /// `is_special`: tokens that are no text, by id. `ends`: the tokens that end a text.
    pub fn new(
        tokenizer: &Tokenizer,
        is_special: &[bool],
        ends: &[i32],
    ) -> Result<GrammarCompiler, Error> {
        let size = is_special.len();
        let ends: Vec<u32> = ends.iter().map(|&id| id as u32).collect();
        if ends.is_empty() || ends.iter().any(|&id| id as usize >= size) {
            return Err(Error::unsupported(
                "grammars need a model with an end token (tokenizer.ggml.eos_token_id)",
            ));
        }
        let tokens: Vec<Vec<u8>> = is_special
            .iter()
            .enumerate()
            .map(|(id, &special)| {
                let bytes = tokenizer.token_bytes(id);
                if special {
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
                } else {
                    bytes.to_vec()
                }
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(size as u32, ends[0]), &tokens);
        let trie = trie.with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
                .map_err(|error| Error::internal(format!("grammar vocabulary: {error}")))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(GrammarCompiler { factory })
    }

    pub fn compile(&self, kind: GrammarKind, source: &str) -> Result<Matcher, Error> {
        check_source(source)?;
        // The parsers of grammars recurse; their depth is limited above and has room here.
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("grammar".into())
                .stack_size(COMPILE_STACK_BYTES)
                .spawn_scoped(scope, || self.compile_here(kind, source))
                .map_err(|error| Error::exhausted(format!("no stack for a grammar: {error}")))?
                .join()
                .unwrap_or_else(|_| Err(Error::invalid("the grammar cannot be compiled")))
        })
    }

    fn compile_here(&self, kind: GrammarKind, source: &str) -> Result<Matcher, Error> {
        let grammar = match kind {
            GrammarKind::JsonSchema => TopLevelGrammar::from_json_schema(schema::prepare(source, false)?),
            GrammarKind::Regex => TopLevelGrammar::from_regex(source),
            GrammarKind::Lark => TopLevelGrammar::from_lark(source.to_string()),
        };
        let parser = self
            .factory
            .create_parser(grammar)
            .map_err(|error| Error::invalid(one_line(&error.to_string())))?;
        let mut inner = Inner::new(Ok(parser));
        // The first mask finds what can never be produced, and warms the caches that copies share.
        inner.compute_mask_or_eos().map_err(|error| Error::invalid(one_line(&error.to_string())))?;
        Ok(Matcher { inner })
    }
}

/// One text under a grammar. Not shared by threads.
pub struct Matcher {
    inner: Inner,
}

impl Matcher {
    /// A copy that shares nothing.
    pub fn copy(&self) -> Matcher {
        Matcher { inner: self.inner.deep_clone() }
    }

    pub fn consume(&mut self, ids: &[i32]) -> Result<(), Error> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        self.inner.consume_tokens(&ids).map_err(|error| {
            Error::invalid(format!(
                "the text does not follow its grammar: {}",
                one_line(&error.to_string())
            ))
        })
    }

    /// Sets bit id % 32 of word id / 32 for each token that may come next; end tokens only where the
    /// text is complete.
    pub fn mask(&mut self, out: &mut [u32]) -> Result<(), Error> {
        let mask = self.inner.compute_mask_or_eos().map_err(|error| {
            Error::invalid(format!(
                "the grammar became too complex: {}",
                one_line(&error.to_string())
            ))
        })?;
        out.fill(0);
        for (to, from) in out.iter_mut().zip(mask.as_slice()) {
            *to = *from;
        }
        Ok(())
    }

    /// Nothing but an end token can follow.
    pub fn is_complete(&self) -> bool {
        self.inner.is_stopped()
    }
}

pub fn check_source(source: &str) -> Result<(), Error> {
    if source.len() > SOURCE_LIMIT_BYTES {
        return Err(Error::invalid(format!(
            "the grammar has {} bytes, limit {SOURCE_LIMIT_BYTES}",
            source.len()
        )));
    }
    let mut open = 0_usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > NESTING_LIMIT {
            return Err(Error::invalid(format!(
                "the grammar is nested deeper than {NESTING_LIMIT} levels"
            )));
        }
    }
    Ok(())
}

fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("unknown").trim();
    line.chars().take(300).collect()
}

/// C++ copies one matcher from several threads.
const _: () = {
    const fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Matcher>();
    shared_by_threads::<GrammarCompiler>();
};
