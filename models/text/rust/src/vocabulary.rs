//! The vocabulary of a model as the file has it, checked.

use crate::error::Error;

/// Meaning of a token (tokenizer.ggml.token_type).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    fn from_number(number: i32) -> Option<TokenKind> {
        Some(match number {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }
}

/// Texts, kinds and merge data of all tokens; the index is the id.
pub struct Vocabulary {
    pub tokens: Vec<String>,
    pub kinds: Vec<TokenKind>,
    /// One a token, for SentencePiece models; otherwise empty.
    pub scores: Vec<f32>,
    /// "left right", best first, for byte-level BPE; otherwise empty.
    pub merges: Vec<String>,
}

impl Vocabulary {
    /// Checks the sizes and the text encoding.
    pub fn new(
        tokens: Vec<&[u8]>,
        kinds: &[i32],
        scores: &[f32],
        merges: Vec<&[u8]>,
    ) -> Result<Vocabulary, Error> {
        if tokens.is_empty() {
            return Err(Error::unsupported("tokenizer.ggml.tokens is empty"));
        }
        if kinds.len() != tokens.len() {
            return Err(Error::unsupported(format!(
                "tokenizer.ggml.token_type has {} entries; tokenizer.ggml.tokens has {}",
                kinds.len(),
                tokens.len()
            )));
        }
        let kinds = kinds.iter().enumerate().map(|(id, &number)| {
            TokenKind::from_number(number).ok_or_else(|| {
                Error::unsupported(format!(
                    "tokenizer.ggml.token_type[{id}] is {number}; known are 1 to 6"
                ))
            })
        });
        Ok(Vocabulary {
            kinds: kinds.collect::<Result<_, _>>()?,
            tokens: utf8_strings(tokens, "tokenizer.ggml.tokens")?,
            scores: scores.to_vec(),
            merges: utf8_strings(merges, "tokenizer.ggml.merges")?,
        })
    }
}

fn utf8_strings(strings: Vec<&[u8]>, key: &str) -> Result<Vec<String>, Error> {
    let convert = |(index, bytes): (usize, &[u8])| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::unsupported(format!("{key}[{index}] is not valid UTF-8")))
    };
    strings.into_iter().enumerate().map(convert).collect()
}
