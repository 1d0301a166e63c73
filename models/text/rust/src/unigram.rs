//! Unigram models (tokenizer.ggml.model = "t5"): of all ways to spell a text in pieces, the one whose
//! scores sum highest. After Kudo 2018 and sentencepiece's unigram_model.cc and normalizer.cc.

use ahash::AHashMap;

use crate::error::Error;
use crate::sentence_piece::{byte_of_token, SPACE};
use crate::vocabulary::{TokenKind, Vocabulary};

/// What an unknown character costs more than the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

pub struct Unigram {
    pieces: AHashMap<String, (i32, f64)>,
    /// Length in bytes of the longest piece.
    longest: usize,
    byte_ids: [Option<i32>; 256],
    unknown_id: i32,
    unknown_score: f64,
    charsmap: Option<CharsMap>,
    adds_space_prefix: bool,
    merges_spaces: bool,
}

/// The best spelling of the text up to a position.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last piece begins, and which it is; None for an unknown character.
    begin: usize,
    id: Option<i32>,
}

impl Unigram {
    /// `charsmap`: tokenizer.ggml.precompiled_charsmap, possibly empty. `merges_spaces`: runs of spaces
    /// count as one, and those at both ends as none.
    pub fn new(
        vocabulary: &Vocabulary,
        charsmap: &[u8],
        adds_space_prefix: bool,
        merges_spaces: bool,
    ) -> Result<Unigram, Error> {
        if vocabulary.scores.len() != vocabulary.tokens.len() {
            return Err(Error::unsupported(format!(
                "tokenizer.ggml.scores has {} entries; tokenizer.ggml.tokens has {}",
                vocabulary.scores.len(),
                vocabulary.tokens.len()
            )));
        }
        let mut pieces = AHashMap::with_capacity(vocabulary.tokens.len());
        let mut byte_ids = [None; 256];
        let (mut longest, mut unknown_id, mut worst) = (0, None, f64::INFINITY);
        for (index, token) in vocabulary.tokens.iter().enumerate() {
            let id = index as i32;
            let score = f64::from(vocabulary.scores[index]);
            match vocabulary.kinds[index] {
                TokenKind::Unknown => unknown_id = Some(id),
                TokenKind::Control => continue,
                TokenKind::Byte => {
                    if let Some(byte) = byte_of_token(token) {
                        byte_ids[byte as usize] = Some(id);
                    }
                }
                kind => {
                    if kind == TokenKind::Normal {
                        worst = worst.min(score);
                    }
                    // Scores are logarithms of probabilities: 0 is better than any of them.
                    let score = if kind == TokenKind::UserDefined { 0.0 } else { score };
                    longest = longest.max(token.len());
                    pieces.entry(token.clone()).or_insert((id, score));
                }
            }
        }
        let unknown_id = unknown_id.ok_or_else(|| {
            Error::unsupported("tokenizer.ggml.token_type marks no unknown token")
        })?;
        if !worst.is_finite() || vocabulary.scores.iter().any(|score| !score.is_finite()) {
            return Err(Error::unsupported("tokenizer.ggml.scores are not all finite numbers"));
        }
        Ok(Unigram {
            pieces,
            longest,
            byte_ids,
            unknown_id,
            unknown_score: worst - UNKNOWN_PENALTY,
            charsmap: CharsMap::new(charsmap)?,
            adds_space_prefix,
            merges_spaces,
        })
    }

    /// Appends the ids of `text`, which holds no special token.
    pub fn encode(&self, text: &str, ids: &mut Vec<i32>) {
        let text = self.normalized(text);
        let mut best = vec![Best { score: f64::NEG_INFINITY, begin: 0, id: None }; text.len() + 1];
        best[0].score = 0.0;
        for (begin, character) in text.char_indices() {
            let score = best[begin].score;
            let single = begin + character.len_utf8();
            let mut is_known = false;
            let last = text.len().min(begin + self.longest);
            for end in single..=last {
                if !text.is_char_boundary(end) {
                    continue;
                }
                if let Some(&(id, own)) = self.pieces.get(&text[begin..end]) {
                    is_known |= end == single;
                    if score + own > best[end].score {
                        best[end] = Best { score: score + own, begin, id: Some(id) };
                    }
                }
            }
            if !is_known && score + self.unknown_score > best[single].score {
                best[single] = Best { score: score + self.unknown_score, begin, id: None };
            }
        }
        self.append_path(&text, &best, ids);
    }

    /// The pieces of the best spelling; neighbouring unknown characters become one unknown token, or
    /// the byte tokens of each.
    fn append_path(&self, text: &str, best: &[Best], ids: &mut Vec<i32>) {
        let mut reversed = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let Best { begin, id, .. } = best[end];
            reversed.push((begin, end, id));
            end = begin;
        }
        let mut after_unknown = false;
        for &(begin, end, id) in reversed.iter().rev() {
            let bytes = text[begin..end].bytes().map(|byte| self.byte_ids[byte as usize]);
            match id {
                Some(id) => ids.push(id),
                None if bytes.clone().all(|id| id.is_some()) => ids.extend(bytes.flatten()),
                None if !after_unknown => ids.push(self.unknown_id),
                None => {}
            }
            after_unknown = id.is_none();
        }
    }

    fn normalized(&self, text: &str) -> String {
        let mapped = match &self.charsmap {
            Some(charsmap) => charsmap.mapped(text),
            None => text.to_string(),
        };
        let mut out = String::with_capacity(mapped.len() + 8);
        let prefix = if self.adds_space_prefix { SPACE } else { "" };
        if self.merges_spaces {
            for word in mapped.split(' ').filter(|word| !word.is_empty()) {
                out.push_str(if out.is_empty() { prefix } else { SPACE });
                out.push_str(word);
            }
        } else if !mapped.is_empty() {
            out.push_str(prefix);
            out.push_str(&mapped.replace(' ', SPACE));
        }
        out
    }
}

/// A map from prefixes to replacements: a double array (Aoe 1989) whose leaves are offsets of
/// strings that end in a zero byte.
struct CharsMap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl CharsMap {
    /// None for an empty blob.
    fn new(blob: &[u8]) -> Result<Option<CharsMap>, Error> {
        let bad =
            |what: &str| Error::unsupported(format!("tokenizer.ggml.precompiled_charsmap {what}"));
        if blob.is_empty() {
            return Ok(None);
        }
        let (size, rest) = blob.split_first_chunk::<4>().ok_or_else(|| bad("is cut off"))?;
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || size % 4 != 0 || size >= rest.len() {
            return Err(bad("has an index that does not fit"));
        }
        let units = rest[..size].chunks_exact(4);
        let units = units.map(|unit| u32::from_le_bytes(unit.try_into().expect("four bytes")));
        let replacements = rest[size..].to_vec();
        if replacements.last() != Some(&0) {
            return Err(bad("does not end in a zero byte"));
        }
        Ok(Some(CharsMap { units: units.collect(), replacements }))
    }

    fn mapped(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            match self.longest_prefix(rest) {
                Some((length, replacement)) => {
                    out.push_str(&String::from_utf8_lossy(replacement));
                    rest = &rest[length..];
                }
                None => {
                    out.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        out
    }

    /// Length of the longest prefix that has a replacement, and that.
    fn longest_prefix(&self, text: &str) -> Option<(usize, &[u8])> {
        let base = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut found = None;
        let mut node = base(*self.units.first()?);
        for (index, byte) in text.bytes().enumerate() {
            node ^= byte as usize;
            let unit = *self.units.get(node)?;
            if unit & ((1 << 31) | 0xFF) != u32::from(byte) || byte == 0 {
                break;
            }
            node ^= base(unit);
            if unit & (1 << 8) == 0 {
                continue;
            }
            let offset = (self.units.get(node)? & !(1 << 31)) as usize;
            // A map that cuts characters apart is not followed.
            if text.is_char_boundary(index + 1) {
                let tail = self.replacements.get(offset..)?;
                let length = tail.iter().position(|&byte| byte == 0)?;
                found = Some((index + 1, &tail[..length]));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unigram(merges_spaces: bool) -> Unigram {
        let tokens = ["<unk>", "</s>", "\u{2581}", "a", "b", "ab", "\u{2581}ab", "XY"];
        let scores = [0.0, 0.0, -3.0, -2.0, -2.0, -5.0, -4.5, 0.0];
        let kinds = [2, 3, 1, 1, 1, 1, 1, 4];
        let tokens = tokens.iter().map(|token| token.as_bytes()).collect();
        let vocabulary = Vocabulary::new(tokens, &kinds, &scores, Vec::new()).unwrap();
        Unigram::new(&vocabulary, &[], true, merges_spaces).unwrap()
    }

    fn ids(model: &Unigram, text: &str) -> Vec<i32> {
        let mut ids = Vec::new();
        model.encode(text, &mut ids);
        ids
    }

    #[test]
    fn the_best_sum_wins_not_the_longest_piece() {
        // "ab" alone is worth less than a and b, with the space in front it is worth more.
        assert_eq!(ids(&unigram(false), "abab"), [6, 3, 4]);
        assert_eq!(ids(&unigram(false), "XYa"), [2, 7, 3]);
    }

    #[test]
    fn unknown_characters_in_a_row_are_one_token() {
        assert_eq!(ids(&unigram(false), "aéüb"), [2, 3, 0, 4]);
    }

    #[test]
    fn spaces_are_merged_where_the_model_does() {
        assert_eq!(ids(&unigram(false), " a  b "), [2, 2, 3, 2, 2, 4, 2]);
        assert_eq!(ids(&unigram(true), " a  b "), [2, 3, 2, 4]);
        assert!(ids(&unigram(true), "   ").is_empty());
    }

    #[test]
    fn a_damaged_map_is_refused_or_does_nothing() {
        for blob in [&[1, 2, 3][..], &[8, 0, 0, 0, 1], &[4, 0, 0, 0, 9, 9, 9, 9, 1]] {
            assert!(CharsMap::new(blob).is_err());
        }
        let mut blob = vec![4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        blob.extend_from_slice(b"x\0");
        assert_eq!(CharsMap::new(&blob).unwrap().unwrap().mapped("aé\u{1F600}"), "aé\u{1F600}");
    }
}
