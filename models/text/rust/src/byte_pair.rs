//! BPE (tokenizer.ggml.model = "gpt2" or "gemma4"): words of the pre-tokenizer, merged by rank, as
//! GPT-2's characters for bytes or, where the pre-tokenizer says so, as they are.

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::Model;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::byte_level;
use crate::error::Error;
use crate::pre_tokenizer::PreTokenizer;
use crate::pre_tokenizer_rules::KNOWN_NAMES;
use crate::sentence_piece::SPACE;
use crate::vocabulary::{TokenKind, Vocabulary};

pub struct BytePair {
    pre_tokenizer: PreTokenizer,
    model: BPE,
}

impl BytePair {
    /// `pre` is the value of tokenizer.ggml.pre.
    pub fn new(vocabulary: &Vocabulary, pre: &str) -> Result<BytePair, Error> {
        let pre_tokenizer = PreTokenizer::named(pre).ok_or_else(|| {
            Error::unsupported(format!(
                "tokenizer.ggml.pre is \"{pre}\"; known are {}",
                KNOWN_NAMES.join(", ")
            ))
        })?;
        let mut ids = AHashMap::with_capacity(vocabulary.tokens.len());
        for (id, token) in vocabulary.tokens.iter().enumerate() {
            // Words are looked up whole when merges are ignored; a control token written in plain
            // text must not be one.
            if pre_tokenizer.rules.ignores_merges && vocabulary.kinds[id] == TokenKind::Control {
                continue;
            }
            ids.entry(token.clone()).or_insert(id as u32);
        }
        let merges = parse_merges(&vocabulary.merges, &ids)?;
        let model = BPE::builder()
            .vocab_and_merges(ids, merges)
            .ignore_merges(pre_tokenizer.rules.ignores_merges)
            .byte_fallback(!pre_tokenizer.rules.byte_level)
            .build()
            .map_err(|error| Error::unsupported(format!("tokenizer.ggml.merges: {error}")))?;
        Ok(BytePair { pre_tokenizer, model })
    }

    pub fn adds_bos(&self) -> bool {
        self.pre_tokenizer.rules.adds_bos
    }

    /// Whether tokens are written in GPT-2's characters for bytes.
    pub fn is_byte_level(&self) -> bool {
        self.pre_tokenizer.rules.byte_level
    }

    /// Appends the ids of `text`, which holds no special token. Bytes that the vocabulary does not
    /// have are left out, as the published tokenizers of such models do.
    pub fn encode(&self, text: &str, ids: &mut Vec<i32>) -> Result<(), Error> {
        let normalized: String;
        let text = if self.pre_tokenizer.rules.normalizes_nfc && !text.is_ascii() {
            normalized = text.nfc().map(|(character, _)| character).collect();
            &normalized
        } else {
            text
        };
        let escaped: String;
        let text = if self.pre_tokenizer.rules.escapes_spaces {
            escaped = text.replace(' ', SPACE);
            &escaped
        } else {
            text
        };
        let mut mapped = String::new();
        for (begin, end) in self.pre_tokenizer.words(text) {
            let word = &text[begin..end];
            mapped.clear();
            if self.is_byte_level() {
                byte_level::append_mapped(word, &mut mapped);
            } else if let Some(id) = self.line_breaks(word) {
                ids.push(id);
                continue;
            } else {
                mapped.push_str(word);
            }
            let tokens = self
                .model
                .tokenize(&mapped)
                .map_err(|error| Error::internal(format!("byte pair encoding: {error}")))?;
            ids.extend(tokens.iter().map(|token| token.id as i32));
        }
        Ok(())
    }
}

impl BytePair {
    /// The token of a run of line breaks, which is not built by merges.
    fn line_breaks(&self, word: &str) -> Option<i32> {
        let is_run = word.bytes().all(|byte| byte == b'\n');
        is_run.then(|| self.model.token_to_id(word)).flatten().map(|id| id as i32)
    }
}

/// Splits "left right" and checks that both and their concatenation are tokens.
fn parse_merges(
    merges: &[String],
    ids: &AHashMap<String, u32>,
) -> Result<Vec<(String, String)>, Error> {
    if merges.is_empty() {
        return Err(Error::unsupported("tokenizer.ggml.merges is missing or empty"));
    }
    let longest = ids.keys().map(String::len).max().unwrap_or(0);
    let parse = |(rank, merge): (usize, &String)| {
        // A space inside a byte-level token is written with its own character, so the first one
        // separates; it is looked for from the second byte on.
        let (left, right) = merge
            .char_indices()
            .skip(1)
            .find(|&(_, character)| character == ' ')
            .map(|(at, _)| (&merge[..at], &merge[at + 1..]))
            .ok_or_else(|| {
                Error::unsupported(format!("tokenizer.ggml.merges[{rank}] has no space"))
            })?;
        if left.len() + right.len() > longest {
            return Err(Error::unsupported(format!(
                "tokenizer.ggml.merges[{rank}] makes a token that is not in tokenizer.ggml.tokens"
            )));
        }
        Ok((left.to_string(), right.to_string()))
    };
    merges.iter().enumerate().map(parse).collect()
}
