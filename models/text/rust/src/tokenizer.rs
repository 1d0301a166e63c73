//! Text to ids: special tokens are cut out first, the model encodes what lies between.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::byte_level;
use crate::byte_pair::BytePair;
use crate::error::Error;
use crate::json_tokenizer::JsonTokenizer;
use crate::sentence_piece::{byte_of_token, SentencePiece, SPACE};
use crate::unigram::Unigram;
use crate::vocabulary::{TokenKind, Vocabulary};

enum Model {
    BytePair(BytePair),
    SentencePiece(SentencePiece),
    Unigram(Unigram),
    /// Looks for special tokens itself.
    Json(JsonTokenizer),
}

/// Tokens that are found in the text as they are written; the longest of several wins.
struct LiteralTokens {
    automaton: Option<AhoCorasick>,
    ids: Vec<i32>,
}

/// Metadata of a tokenizer besides its vocabulary, by the names of tokenizer.ggml.*.
pub struct Settings<'a> {
    pub model: &'a str,
    pub pre: &'a str,
    pub charsmap: &'a [u8],
    pub adds_space_prefix: bool,
    pub merges_spaces: bool,
}

/// Immutable; shared by threads.
pub struct Tokenizer {
    model: Model,
    /// Control, unknown and user-defined tokens: looked for when special tokens count.
    special: LiteralTokens,
    /// User-defined tokens only: looked for when the text is plain.
    plain: LiteralTokens,
    /// Bytes of every token, one after another; token i ends at byte_ends[i].
    bytes: Vec<u8>,
    byte_ends: Vec<usize>,
}

impl Tokenizer {
    pub fn new(vocabulary: &Vocabulary, settings: &Settings) -> Result<Tokenizer, Error> {
        let prefix = settings.adds_space_prefix;
        let model = match settings.model {
            "gpt2" => Model::BytePair(BytePair::new(vocabulary, settings.pre)?),
            // Whatever the file says of the pre-tokenizer.
            "gemma4" => Model::BytePair(BytePair::new(vocabulary, "gemma4")?),
            "llama" => Model::SentencePiece(SentencePiece::new(vocabulary, prefix)?),
            "t5" => Model::Unigram(Unigram::new(
                vocabulary,
                settings.charsmap,
                prefix,
                settings.merges_spaces,
            )?),
            other => {
                return Err(Error::unsupported(format!(
                    "tokenizer.ggml.model is \"{other}\"; known are gpt2 and gemma4 (BPE), llama (SentencePiece BPE) and t5 (unigram)"
                )))
            }
        };
        let mut bytes = Vec::new();
        let mut byte_ends = Vec::with_capacity(vocabulary.tokens.len());
        for (token, &kind) in vocabulary.tokens.iter().zip(&vocabulary.kinds) {
            bytes.extend_from_slice(&token_bytes(&model, token, kind));
            byte_ends.push(bytes.len());
        }
        let special = LiteralTokens::new(vocabulary, |kind| {
            matches!(kind, TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined)
        })?;
        let plain = LiteralTokens::new(vocabulary, |kind| kind == TokenKind::UserDefined)?;
        Ok(Tokenizer { model, special, plain, bytes, byte_ends })
    }

    /// From the bytes of a tokenizer.json.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer, Error> {
        let model = JsonTokenizer::new(json)?;
        let mut bytes = Vec::new();
        let mut byte_ends = Vec::new();
        for token in model.all_bytes() {
            bytes.extend_from_slice(&token);
            byte_ends.push(bytes.len());
        }
        let nothing = || LiteralTokens { automaton: None, ids: Vec::new() };
        let (special, plain) = (nothing(), nothing());
        Ok(Tokenizer { model: Model::Json(model), special, plain, bytes, byte_ends })
    }

    /// The tokenizer.json, where it is one.
    pub fn json(&self) -> Option<&JsonTokenizer> {
        match &self.model {
            Model::Json(model) => Some(model),
            _ => None,
        }
    }

    /// How many ids there are.
    pub fn size(&self) -> usize {
        self.byte_ends.len()
    }

    /// Whether BOS goes in front where the file does not say.
    pub fn adds_bos(&self) -> bool {
        match &self.model {
            Model::BytePair(model) => model.adds_bos(),
            Model::SentencePiece(_) => true,
            Model::Unigram(_) => false,
            Model::Json(model) => model.first().is_some(),
        }
    }

    /// Whether EOS goes behind where the file does not say.
    pub fn adds_eos(&self) -> bool {
        matches!(self.model, Model::Unigram(_))
    }

    /// The bytes of one token; empty for an id outside the vocabulary.
    pub fn token_bytes(&self, id: usize) -> &[u8] {
        let Some(&end) = self.byte_ends.get(id) else { return &[] };
        let begin = if id == 0 { 0 } else { self.byte_ends[id - 1] };
        &self.bytes[begin..end]
    }

    /// Ids of `text`; with `parse_special`, control tokens written in it become their ids.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<i32>, Error> {
        if let Model::Json(model) = &self.model {
            return model.encode(text, parse_special);
        }
        let literals = if parse_special { &self.special } else { &self.plain };
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut position = 0;
        if let Some(automaton) = &literals.automaton {
            for found in automaton.find_iter(text) {
                self.encode_between(text, position, found.start(), &mut ids)?;
                ids.push(literals.ids[found.pattern().as_usize()]);
                position = found.end();
            }
        }
        self.encode_between(text, position, text.len(), &mut ids)?;
        Ok(ids)
    }

    fn encode_between(
        &self,
        text: &str,
        begin: usize,
        end: usize,
        ids: &mut Vec<i32>,
    ) -> Result<(), Error> {
        if begin == end {
            return Ok(());
        }
        match &self.model {
            Model::BytePair(model) => model.encode(&text[begin..end], ids)?,
            Model::SentencePiece(model) => model.encode(&text[begin..end], ids),
            Model::Unigram(model) => model.encode(&text[begin..end], ids),
            Model::Json(model) => ids.extend(model.encode(&text[begin..end], false)?),
        }
        Ok(())
    }
}

impl LiteralTokens {
    fn new(
        vocabulary: &Vocabulary,
        wanted: impl Fn(TokenKind) -> bool,
    ) -> Result<LiteralTokens, Error> {
        let mut texts = Vec::new();
        let mut ids = Vec::new();
        for (id, token) in vocabulary.tokens.iter().enumerate() {
            if wanted(vocabulary.kinds[id]) && !token.is_empty() {
                texts.push(token.as_str());
                ids.push(id as i32);
            }
        }
        if texts.is_empty() {
            return Ok(LiteralTokens { automaton: None, ids });
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts)
            .map_err(|error| Error::unsupported(format!("special tokens: {error}")))?;
        Ok(LiteralTokens { automaton: Some(automaton), ids })
    }
}

/// What a token stands for. Control and user-defined tokens are text as they are written.
fn token_bytes(model: &Model, token: &str, kind: TokenKind) -> Vec<u8> {
    if matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown) {
        return token.as_bytes().to_vec();
    }
    match model {
        Model::BytePair(model) if model.is_byte_level() => byte_level::bytes_of_token(token),
        Model::Json(_) => byte_level::bytes_of_token(token),
        _ => match byte_of_token(token) {
            Some(byte) if kind == TokenKind::Byte => vec![byte],
            _ => token.replace(SPACE, " ").into_bytes(),
        },
    }
}
