//! How byte-level BPE models cut text into words before merging, by the name in tokenizer.ggml.pre.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of white space leaves its last character to
//! the word that follows. Look-ahead would need a backtracking engine, which can take quadratic
//! time; the patterns here end in `\s+`, and `Split::cut` gives the last character back. The result
//! is the same and the time stays linear.

use regex::Regex;

/// One cutting step. Matches and the text between them become separate pieces.
pub struct Split {
    regex: Regex,
    /// The pattern has a branch that takes a run up to its last line break; such a match is never
    /// shortened.
    keeps_line_breaks: bool,
}

/// A named pre-tokenizer.
pub struct PreTokenizer {
    splits: Vec<Split>,
    /// The text is brought to Unicode normal form C first.
    pub normalizes_nfc: bool,
    /// A word that is itself a token is not built by merges.
    pub ignores_merges: bool,
    /// BOS is put in front where the file does not say.
    pub adds_bos: bool,
}

const DIGIT: &str = r"\p{N}";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const KIMI_K2: &str = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const DEEPSEEK_CJK: &str = r"[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+";
/// The letters of the Latin, Greek, Cyrillic, Armenian, Georgian and other alphabets with case, in
/// verbose syntax.
const DEEPSEEK_LETTERS: &str = r"(?x)\s?[
    A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}
    \u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}
    \u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}
    \u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}
    \u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}
    \u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}
    \u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}
    \u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}
    \u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}
    \u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}
    \u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}
    \u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}
    \u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}
    \u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}
]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"##;

/// The names that `PreTokenizer::named` knows, in alphabetical order.
pub const KNOWN_NAMES: &[&str] = &[
    "chatglm-bpe",
    "codeshell",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "exaone",
    "falcon",
    "falcon3",
    "glm4",
    "gpt-2",
    "gpt-4o",
    "kimi-k2",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "minerva-7b",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "qwen2",
    "qwen35",
    "refact",
    "smaug-bpe",
    "smollm",
    "starcoder",
    "tekken",
];

/// Patterns of a name, each with whether it keeps line breaks; None for an unknown name.
fn patterns(name: &str) -> Option<Vec<(&'static str, bool)>> {
    Some(match name {
        "gpt-2" | "phi-2" | "mpt" | "olmo" => vec![(GPT2, false)],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            vec![(DIGIT, false), (GPT2, false)]
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "dbrx" | "smaug-bpe"
        | "glm4" | "chatglm-bpe" => vec![(LLAMA3, true)],
        "qwen2" | "deepseek-r1-qwen" => vec![(QWEN2, true)],
        "qwen35" => vec![(QWEN35, true)],
        "gpt-4o" | "llama4" => vec![(GPT4O, true)],
        "tekken" => vec![(TEKKEN, true)],
        "kimi-k2" => vec![(KIMI_K2, true)],
        "falcon" => {
            vec![(r"[\p{P}\$\+<=>\^~\|`]+", false), (GPT2, false), ("[0-9][0-9][0-9]", false)]
        }
        "deepseek-coder" => vec![
            (r"[\r\n]", true),
            (r"\s?\p{L}+", true),
            (r"\s?\p{P}+", true),
            (DEEPSEEK_CJK, true),
            (DIGIT, true),
        ],
        "deepseek-llm" => vec![
            (r"[\r\n]", true),
            (DEEPSEEK_LETTERS, true),
            (
                r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+",
                true,
            ),
            (r"\s+$", true),
            (DEEPSEEK_CJK, true),
            (DIGIT, true),
        ],
        "deepseek-v3" => vec![
            (r"\p{N}{1,3}", true),
            (r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+", true),
            (DEEPSEEK3, true),
        ],
        _ => return None,
    })
}

impl PreTokenizer {
    /// The pre-tokenizer of that name; None for an unknown name.
    pub fn named(name: &str) -> Option<PreTokenizer> {
        let splits = patterns(name)?
            .into_iter()
            .map(|(pattern, keeps_line_breaks)| Split {
                regex: Regex::new(pattern).expect("the patterns are constants and tested"),
                keeps_line_breaks,
            })
            .collect();
        let llama3 = matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral");
        Some(PreTokenizer {
            splits,
            normalizes_nfc: matches!(
                name,
                "qwen2" | "deepseek-r1-qwen" | "mpt" | "olmo" | "command-r"
            ),
            ignores_merges: llama3 || matches!(name, "tekken" | "gpt-4o" | "llama4"),
            adds_bos: llama3 || name == "tekken",
        })
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
        let mut position = 0;
        while position < piece.len() {
            let Some(found) = self.regex.find_at(piece, position) else { break };
            let end = self.shortened(piece, found.start(), found.end());
            if found.start() > position {
                out.push((offset + position, offset + found.start()));
            }
            out.push((offset + found.start(), offset + end));
            position = end;
        }
        if position < piece.len() {
            out.push((offset + position, offset + piece.len()));
        }
    }

    /// The end of a match after `\s+(?!\S)`: a run of two or more white-space characters that does
    /// not reach the end of the piece gives its last character back.
    fn shortened(&self, piece: &str, begin: usize, end: usize) -> usize {
        if end == piece.len() || !piece[begin..end].chars().all(char::is_whitespace) {
            return end;
        }
        let last = piece[begin..end].chars().next_back().expect("matches are not empty");
        if self.keeps_line_breaks && matches!(last, '\r' | '\n') {
            return end;
        }
        let shorter = end - last.len_utf8();
        if shorter > begin {
            shorter
        } else {
            end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
