//! Byte-level BPE (tokenizer.ggml.model = "gpt2"): words of the pre-tokenizer, merged by rank.

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::Model;
use unicode_normalization_alignments::UnicodeNormalization;

use crate::byte_level;
use crate::error::Error;
use crate::pre_tokenizer::{PreTokenizer, KNOWN_NAMES};
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
            if pre_tokenizer.ignores_merges && vocabulary.kinds[id] == TokenKind::Control {
                continue;
            }
            ids.entry(token.clone()).or_insert(id as u32);
        }
        let merges = parse_merges(&vocabulary.merges, &ids)?;
        let model = BPE::builder()
            .vocab_and_merges(ids, merges)
            .ignore_merges(pre_tokenizer.ignores_merges)
            .build()
            .map_err(|error| Error::unsupported(format!("tokenizer.ggml.merges: {error}")))?;
        Ok(BytePair { pre_tokenizer, model })
    }

    pub fn adds_bos(&self) -> bool {
        self.pre_tokenizer.adds_bos
    }

    /// Appends the ids of `text`, which holds no special token. Bytes that the vocabulary does not
    /// have are left out, as the published tokenizers of such models do.
    pub fn encode(&self, text: &str, ids: &mut Vec<i32>) -> Result<(), Error> {
        let normalized: String;
        let text = if self.pre_tokenizer.normalizes_nfc && !text.is_ascii() {
            normalized = text.nfc().map(|(character, _)| character).collect();
            &normalized
        } else {
            text
        };
        let mut mapped = String::new();
        for (begin, end) in self.pre_tokenizer.words(text) {
            mapped.clear();
            byte_level::append_mapped(&text[begin..end], &mut mapped);
            let tokens = self
                .model
                .tokenize(&mapped)
                .map_err(|error| Error::internal(format!("byte pair encoding: {error}")))?;
            ids.extend(tokens.iter().map(|token| token.id as i32));
        }
        Ok(())
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
