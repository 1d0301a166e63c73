//! How byte-level BPE models cut text into words before merging, by the name in tokenizer.ggml.pre.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of white space leaves its last character to
//! the word that follows. Look-ahead would need a backtracking engine, which can take quadratic
//! time; the patterns here end in `\s+`, and `Split::cut` gives the last character back. The result
//! is the same and the time stays linear.

use std::ops::Range;

use regex::Regex;

use crate::pre_tokenizer_rules;

/// What of a match that is all white space goes back to the text that follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    Never,
    /// The last character of two or more, as `\s+(?!\S)` does.
    LastCharacter,
    /// The same, unless the match ends in a line break: the pattern has a branch that takes runs up
    /// to their last line break.
    LastUnlessLineBreak,
    /// As LastUnlessLineBreak, and runs are cut into pieces of powers of two up to 512.
    Ladder,
}

/// One cutting step: matches and the text between them become separate pieces.
pub enum Step {
    Cut(&'static str, Trim),
    /// Each match is cut into threes from its end.
    Threes(&'static str),
}

/// What a name stands for.
pub struct Rules {
    pub steps: Vec<Step>,
    /// The text is brought to Unicode normal form C first.
    pub normalizes_nfc: bool,
    /// A word that is itself a token is not built by merges.
    pub ignores_merges: bool,
    /// BOS is put in front where the file does not say.
    pub adds_bos: bool,
    /// Merges join GPT-2's characters for bytes; otherwise the text's own, with byte tokens for those
    /// that the vocabulary lacks.
    pub byte_level: bool,
    /// Spaces are written as U+2581.
    pub escapes_spaces: bool,
}

/// A named pre-tokenizer.
pub struct PreTokenizer {
    splits: Vec<Split>,
    pub rules: Rules,
}

enum Split {
    Cut { regex: Regex, trim: Trim },
    Threes(Regex),
}

impl PreTokenizer {
    /// The pre-tokenizer of that name; None for an unknown name.
    pub fn named(name: &str) -> Option<PreTokenizer> {
        let rules = pre_tokenizer_rules::rules(name)?;
        let regex = |pattern| Regex::new(pattern).expect("the patterns are constants and tested");
        let splits = rules
            .steps
            .iter()
            .map(|step| match *step {
                Step::Cut(pattern, trim) => Split::Cut { regex: regex(pattern), trim },
                Step::Threes(pattern) => Split::Threes(regex(pattern)),
            })
            .collect();
        Some(PreTokenizer { splits, rules })
    }

    /// The byte ranges of the words of `text`, in order, covering it.
    pub fn words(&self, text: &str) -> Vec<(usize, usize)> {
        let mut pieces = vec![(0, text.len())];
        let mut next = Vec::new();
        for split in &self.splits {
            next.clear();
            for &(begin, end) in &pieces {
                split.cut(&text[begin..end], begin, &mut next);
            }
            std::mem::swap(&mut pieces, &mut next);
        }
        pieces
    }
}

impl Split {
    /// Appends the pieces of `piece`, which starts at byte `offset` of the whole text.
    fn cut(&self, piece: &str, offset: usize, out: &mut Vec<(usize, usize)>) {
        let mut push = |begin: usize, end: usize| {
            if begin < end {
                out.push((offset + begin, offset + end));
            }
        };
        let mut position = 0;
        let regex = match self {
            Split::Cut { regex, .. } | Split::Threes(regex) => regex,
        };
        while position < piece.len() {
            let Some(found) = regex.find_at(piece, position) else { break };
            push(position, found.start());
            position = match self {
                Split::Threes(_) => {
                    push_threes(piece, found.range(), &mut push);
                    found.end()
                }
                Split::Cut { trim: Trim::Ladder, .. } if is_trimmed(piece, found.range(), true) => {
                    push_ladder(piece, found.range(), &mut push)
                }
                Split::Cut { trim, .. } => {
                    let end = trimmed(piece, found.range(), *trim);
                    push(found.start(), end);
                    end
                }
            };
        }
        push(position, piece.len());
    }
}

/// Whether a match is white space that does not reach the end of the piece, or does not end in a
/// line break where that matters.
fn is_trimmed(piece: &str, range: Range<usize>, keeps_line_breaks: bool) -> bool {
    let found = &piece[range];
    found.chars().all(char::is_whitespace) && !(keeps_line_breaks && found.ends_with(['\r', '\n']))
}

/// The end of a match after `\s+(?!\S)`: a run of two or more white-space characters that does not
/// reach the end of the piece gives its last character back.
fn trimmed(piece: &str, range: Range<usize>, trim: Trim) -> usize {
    if range.end == piece.len()
        || trim == Trim::Never
        || !is_trimmed(piece, range.clone(), trim != Trim::LastCharacter)
    {
        return range.end;
    }
    let last = piece[range.clone()].chars().next_back().map_or(0, char::len_utf8);
    if range.end - last > range.start {
        range.end - last
    } else {
        range.end
    }
}

/// Cuts a run of white space into the largest of 512, 256, ... 4, 2, 1 characters that leave at
/// least one to what follows, if anything does. Returns where the rest begins.
fn push_ladder(piece: &str, range: Range<usize>, push: &mut impl FnMut(usize, usize)) -> usize {
    let at_end = range.end == piece.len();
    let begin = range.start;
    let mut starts: Vec<usize> =
        piece[range.clone()].char_indices().map(|(at, _)| begin + at).collect();
    starts.push(range.end);
    let mut left = starts.len() - 1;
    let mut first = 0;
    while left > 0 {
        let spare = usize::from(!at_end);
        let size = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]
            .into_iter()
            .find(|size| size + spare <= left)
            .unwrap_or(1);
        push(starts[first], starts[first + size]);
        first += size;
        left -= size;
        if !at_end && left == 1 {
            break;
        }
    }
    starts[first]
}

fn push_threes(piece: &str, range: Range<usize>, push: &mut impl FnMut(usize, usize)) {
    let begin = range.start;
    let starts: Vec<usize> =
        piece[range.clone()].char_indices().map(|(at, _)| begin + at).collect();
    let mut from = begin;
    for (index, &at) in starts.iter().enumerate() {
        if (starts.len() - index) % 3 == 0 {
            push(from, at);
            from = at;
        }
    }
    push(from, range.end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pre_tokenizer_rules::KNOWN_NAMES;

    fn words<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        let ranges = PreTokenizer::named(name).unwrap().words(text);
        ranges.iter().map(|&(begin, end)| &text[begin..end]).collect()
    }

    #[test]
    fn every_known_name_compiles_and_covers_the_text() {
        let text = "  Hello,\r\n\n  World's 12345 \t 你好 — é!  ";
        for name in KNOWN_NAMES {
            assert_eq!(words(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn a_run_of_spaces_leaves_the_last_one_to_the_word() {
        assert_eq!(words("gpt-2", "a   b  "), ["a", "  ", " b", "  "]);
        assert_eq!(words("llama-bpe", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
    }

    #[test]
    fn digits_stand_alone_or_in_threes() {
        assert_eq!(words("smollm", "x 1234"), ["x", " ", "1", "2", "3", "4"]);
        assert_eq!(words("llama-bpe", "1234"), ["123", "4"]);
        assert_eq!(words("afmoe", "1234"), ["1", "234"]);
        assert_eq!(words("superbpe", "a 1234567"), ["a ", "1", "234", "567"]);
        assert_eq!(words("tiny_aya", "1234 1234x"), ["1", "234", " ", "123", "4", "x"]);
    }

    #[test]
    fn runs_of_spaces_are_cut_by_each_family_in_its_way() {
        let spaces = |count: usize| " ".repeat(count);
        assert_eq!(words("jais-2", "a   b"), ["a", "  ", " b"]);
        assert_eq!(
            words("jais-2", &format!("a{}b", spaces(14))),
            ["a", &spaces(8), &spaces(4), " ", " b"]
        );
        assert_eq!(words("jais-2", &format!("a{}", spaces(5))), ["a", "    ", " "]);
        assert_eq!(words("chameleon", "a     b"), ["a", "    ", " b"]);
        assert_eq!(words("gemma4", "a  b\n\nc"), ["a  b", "\n\n", "c"]);
        assert_eq!(words("spark2_5", "a\n\n  b"), ["a", "\n", "\n", " ", " b"]);
    }
}
