//! The rules that tokenizer.ggml.pre names: every name that llama.cpp knew in October 2026, with the
//! patterns that the models were published with.

use crate::pre_tokenizer::Rules;
use crate::pre_tokenizer::Step::{self, Cut, Threes};
use crate::pre_tokenizer::Trim::{Ladder, LastCharacter, LastUnlessLineBreak, Never};

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
/// Of the names that llama.cpp calls default: punctuation and runs of digits first.
const DEFAULT_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const QWEN2_WITHOUT_CONTRACTIONS: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]+|\s+";
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const YOUTU_SCRIPTS: &str = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+"##;
const KANA_AND_HAN: &str = r"[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+";
const AFMOE_SCRIPTS: &str = r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+";
const LINES: &str = r"[^\n]+|\n+";
const CHAMELEON_PUNCTUATION: &str = r"[\p{P}!-/:-@\[-`{-~]";

/// Every name, in alphabetical order.
pub const KNOWN_NAMES: &[&str] = &[
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "glm5",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
];

/// What a family of names has in common.
fn steps(name: &str) -> Option<Vec<Step>> {
    Some(match name {
        "default" => vec![
            Cut(DEFAULT_PUNCTUATION, Never),
            Cut(GPT2, LastCharacter),
            Cut(r"\p{N}+", Never),
            Cut("[0-9][0-9][0-9]", Never),
        ],
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
        | "a.x-4.0" | "mellum" | "modern-bert" | "jina-v1-en" | "jina-v2-code" | "roberta-bpe"
        | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" => {
            vec![Cut(GPT2, LastCharacter)]
        }
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => vec![Cut(DIGIT, Never), Cut(GPT2, LastCharacter)],
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "jina-v5-nano" | "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => {
            vec![Cut(LLAMA3, LastUnlessLineBreak)]
        }
        "jais-2" => vec![Cut(LLAMA3, Ladder)],
        "minicpm5" => vec![Cut(r"\p{N}{1,3}", Never), Cut(MINICPM5, LastUnlessLineBreak)],
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan"
        | "solar-open" | "grok-2" => vec![Cut(QWEN2, LastUnlessLineBreak)],
        "qwen35" => vec![Cut(QWEN35, LastUnlessLineBreak)],
        "ufakzeka" => vec![Cut(QWEN2_WITHOUT_CONTRACTIONS, LastUnlessLineBreak)],
        "laguna" => vec![Cut(LINES, Never), Cut(QWEN2, LastUnlessLineBreak)],
        "bailingmoe" | "bailingmoe2" | "llada-moe" => vec![Cut(BAILING, LastUnlessLineBreak)],
        "seed-coder" => vec![Cut(SEED_CODER, LastUnlessLineBreak)],
        "exaone-moe" => vec![Cut(EXAONE_MOE, LastUnlessLineBreak)],
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" | "granite-embed-multi-97m" => {
            vec![Cut(GPT4O, LastUnlessLineBreak)]
        }
        "tiny_aya" | "cohere2moe" => {
            vec![Threes(r"\d+\b"), Cut(GPT4O, LastUnlessLineBreak)]
        }
        "tekken" => vec![Cut(TEKKEN, LastUnlessLineBreak)],
        "youtu" => vec![Cut(YOUTU_SCRIPTS, Never), Cut(YOUTU, LastUnlessLineBreak)],
        "kimi-k2" => vec![Cut(KIMI_K2, LastUnlessLineBreak)],
        "superbpe" => {
            vec![Cut(r"\p{N}+", Never), Threes(r"\d+")]
        }
        "poro-chat" | "bloom" | "gpt3-finnish" => vec![Cut(BLOOM, Never)],
        "viking" => vec![Cut(BLOOM, Never), Cut(DIGIT, Never)],
        "falcon" => vec![
            Cut(r"[\p{P}\$\+<=>\^~\|`]+", Never),
            Cut(GPT2, LastCharacter),
            Cut("[0-9][0-9][0-9]", Never),
        ],
        "chameleon" => vec![
            Cut("<sentinel:[0-9]+>", Never),
            Cut("IMGIMG[A-I]{1,4}Z", Never),
            Cut(r"[\t\n]|    |  ", Never),
            Cut(DIGIT, Never),
            Cut(CHAMELEON_PUNCTUATION, Never),
            Cut(GPT2, LastCharacter),
        ],
        "gemma4" | "granite-embed-multi-311m" | "sarvam-moe" => vec![Cut(LINES, Never)],
        "whitespace" => vec![Cut(r"\S+", Never)],
        _ => return deepseek_steps(name),
    })
}

/// DeepSeek's and what follows it.
fn deepseek_steps(name: &str) -> Option<Vec<Step>> {
    Some(match name {
        "deepseek-coder" => vec![
            Cut(r"[\r\n]", Never),
            Cut(r"\s?\p{L}+", Never),
            Cut(r"\s?\p{P}+", Never),
            Cut(DEEPSEEK_CJK, Never),
            Cut(DIGIT, Never),
        ],
        "deepseek-llm" => vec![
            Cut(r"[\r\n]", Never),
            Cut(DEEPSEEK_LETTERS, Never),
            Cut(
                r"\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+",
                Never,
            ),
            Cut(r"\s+$", Never),
            Cut(DEEPSEEK_CJK, Never),
            Cut(DIGIT, Never),
        ],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => vec![
            Cut(r"\p{N}{1,3}", Never),
            Cut(KANA_AND_HAN, Never),
            Cut(DEEPSEEK3, LastUnlessLineBreak),
        ],
        "spark2_5" => vec![
            Cut(r"\p{N}{1,3}", Never),
            Cut(KANA_AND_HAN, Never),
            Cut(SPARK, LastCharacter),
            Cut(DIGIT, Never),
        ],
        "afmoe" => {
            vec![Threes(r"\p{N}+"), Cut(AFMOE_SCRIPTS, Never), Cut(DEEPSEEK3, LastUnlessLineBreak)]
        }
        _ => return None,
    })
}

/// The rules of that name; None for an unknown name.
pub fn rules(name: &str) -> Option<Rules> {
    let llama3 = matches!(
        name,
        "llama-bpe"
            | "llama3"
            | "llama-v3"
            | "falcon3"
            | "falcon-h1"
            | "pixtral"
            | "midm-2.0"
            | "lfm2"
            | "jina-v5-nano"
    );
    let plain = matches!(name, "gemma4" | "granite-embed-multi-311m" | "sarvam-moe");
    Some(Rules {
        steps: steps(name)?,
        normalizes_nfc: matches!(name, "qwen2" | "deepseek-r1-qwen" | "mpt" | "olmo" | "command-r"),
        ignores_merges: llama3
            || matches!(
                name,
                "tekken"
                    | "gpt-4o"
                    | "llama4"
                    | "minicpm5"
                    | "youtu"
                    | "glm4"
                    | "glm5"
                    | "granite-embed-multi-97m"
            ),
        adds_bos: llama3
            || matches!(name, "tekken" | "chameleon" | "gemma4" | "granite-embed-multi-311m"),
        byte_level: !plain && name != "whitespace",
        escapes_spaces: plain,
    })
}
