//! SentencePiece BPE (tokenizer.ggml.model = "llama"): the adjacent pair whose joined piece scores
//! best is merged first (the leftmost of equals), until no pair is a piece. What is left over is
//! spelled in byte tokens. After Kudo and Richardson 2018 and sentencepiece's bpe_model.cc.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ahash::AHashMap;

use crate::error::Error;
use crate::vocabulary::{TokenKind, Vocabulary};

/// How SentencePiece writes a space (U+2581).
pub const SPACE: &str = "\u{2581}";

pub struct SentencePiece {
    pieces: AHashMap<String, (i32, f32)>,
    /// Length in bytes of the longest piece: longer pairs need no look-up.
    longest: usize,
    /// Ids of <0x00> to <0xFF>, where the vocabulary has them.
    byte_ids: [Option<i32>; 256],
    unknown_id: Option<i32>,
    adds_space_prefix: bool,
}

/// A run of characters of the text; a list linked by indices.
struct Symbol {
    begin: usize,
    end: usize,
    previous: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

/// A possible merge of two neighbours.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length of the joined text when the pair was found: a different one now means that it is out
    /// of date.
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}
impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Pair {}

impl SentencePiece {
    pub fn new(vocabulary: &Vocabulary, adds_space_prefix: bool) -> Result<SentencePiece, Error> {
        if vocabulary.scores.len() != vocabulary.tokens.len() {
            return Err(Error::unsupported(format!(
                "tokenizer.ggml.scores has {} entries; tokenizer.ggml.tokens has {}",
                vocabulary.scores.len(),
                vocabulary.tokens.len()
            )));
        }
        let mut result = SentencePiece {
            pieces: AHashMap::with_capacity(vocabulary.tokens.len()),
            longest: 0,
            byte_ids: [None; 256],
            unknown_id: None,
            adds_space_prefix,
        };
        for (index, token) in vocabulary.tokens.iter().enumerate() {
            let id = index as i32;
            match vocabulary.kinds[index] {
                TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused => {
                    result.longest = result.longest.max(token.len());
                    let score = vocabulary.scores[index];
                    result.pieces.entry(token.clone()).or_insert((id, score));
                }
                TokenKind::Byte => {
                    let byte = byte_of_token(token).ok_or_else(|| {
                        Error::unsupported(format!(
                            "tokenizer.ggml.tokens[{id}] is a byte token but reads \"{token}\", not \"<0xHH>\""
                        ))
                    })?;
                    result.byte_ids[byte as usize] = Some(id);
                }
                TokenKind::Unknown => result.unknown_id = Some(id),
                TokenKind::Control => {}
            }
        }
        if result.unknown_id.is_none() && result.byte_ids.iter().any(Option::is_none) {
            return Err(Error::unsupported(
                "tokenizer.ggml.token_type marks neither an unknown token nor all 256 byte tokens",
            ));
        }
        Ok(result)
    }

    /// Appends the ids of `text`, which stands at the very start or right after a special token and
    /// holds none. A space is put in front if the model wants one there.
    pub fn encode(&self, text: &str, ids: &mut Vec<i32>) {
        let mut escaped = String::with_capacity(text.len() + 8);
        if self.adds_space_prefix {
            escaped.push_str(SPACE);
        }
        for character in text.chars() {
            match character {
                ' ' => escaped.push_str(SPACE),
                other => escaped.push(other),
            }
        }
        let symbols = self.merged(&escaped);
        let mut at = if symbols.is_empty() { NONE } else { 0 };
        while at != NONE {
            let symbol = &symbols[at];
            self.append_symbol(&escaped[symbol.begin..symbol.end], ids);
            at = symbol.next;
        }
    }

    /// The symbols of `text` after all merges, in a list that starts at index 0.
    fn merged(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        for (begin, character) in text.char_indices() {
            let index = symbols.len();
            let previous = if index == 0 { NONE } else { index - 1 };
            let end = begin + character.len_utf8();
            symbols.push(Symbol { begin, end, previous, next: index + 1 });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let mut pairs = BinaryHeap::with_capacity(symbols.len());
        for left in 0..symbols.len() {
            self.offer(text, &symbols, left, &mut pairs);
        }
        while let Some(pair) = pairs.pop() {
            // A symbol that was merged away is empty; one that grew gives another length.
            let (left, right) = (&symbols[pair.left], &symbols[pair.right]);
            if left.begin == left.end
                || right.begin == right.end
                || right.end - left.begin != pair.length
            {
                continue;
            }
            let (end, next) = (right.end, right.next);
            symbols[pair.right].begin = end;
            symbols[pair.left].end = end;
            symbols[pair.left].next = next;
            if next != NONE {
                symbols[next].previous = pair.left;
            }
            let previous = symbols[pair.left].previous;
            if previous != NONE {
                self.offer(text, &symbols, previous, &mut pairs);
            }
            self.offer(text, &symbols, pair.left, &mut pairs);
        }
        symbols
    }

    /// Puts the pair of `left` and its neighbour on the heap if joining them makes a piece.
    fn offer(&self, text: &str, symbols: &[Symbol], left: usize, pairs: &mut BinaryHeap<Pair>) {
        let right = symbols[left].next;
        if right == NONE {
            return;
        }
        let (begin, end) = (symbols[left].begin, symbols[right].end);
        if end - begin > self.longest {
            return;
        }
        if let Some(&(_, score)) = self.pieces.get(&text[begin..end]) {
            pairs.push(Pair { score, left, right, length: end - begin });
        }
    }

    fn append_symbol(&self, symbol: &str, ids: &mut Vec<i32>) {
        if let Some(&(id, _)) = self.pieces.get(symbol) {
            ids.push(id);
        } else if symbol.bytes().all(|byte| self.byte_ids[byte as usize].is_some()) {
            ids.extend(symbol.bytes().filter_map(|byte| self.byte_ids[byte as usize]));
        } else {
            ids.extend(self.unknown_id);
        }
    }
}

/// The byte of "<0xHH>".
pub fn byte_of_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
