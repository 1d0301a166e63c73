//! tokenizer.json of a Hugging Face folder, by the tokenizers crate.

use serde_json::Value;

use crate::byte_level;
use crate::error::Error;
use crate::sentence_piece::byte_of_token;

/// How the texts of tokens spell bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    /// Each character is a byte (GPT-2).
    ByteLevel,
    /// "▁" is a space, "<0x0A>" a byte (SentencePiece).
    Pieces,
}

/// Immutable; shared by threads.
pub struct JsonTokenizer {
    /// Takes special tokens in the text for what they are.
    with_special: tokenizers::Tokenizer,
    /// Takes them for plain text.
    plain: tokenizers::Tokenizer,
    spelling: Spelling,
    /// Tokens that are found in the text as they are written, and whether they are no text (special).
    added: Vec<(u32, String, bool)>,
    /// What the post-processor puts in front of every text.
    first: Option<u32>,
}

impl JsonTokenizer {
    /// From the bytes of the file.
    pub fn new(json: &[u8]) -> Result<JsonTokenizer, Error> {
        let unreadable = |error: &dyn std::fmt::Display| Error::unsupported(error.to_string());
        let value: Value = serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
        let spelling = spelling_of(&value["decoder"])?;
        let mut with_special =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| unreadable(&error))?;
        // Some files carry the limits of a training run.
        with_special.with_truncation(None).map_err(|error| unreadable(&error))?;
        with_special.with_padding(None);
        let mut plain = with_special.clone();
        plain.set_encode_special_tokens(true);
        let mut added: Vec<(u32, String, bool)> = with_special
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (id, token.content, token.special))
            .collect();
        added.sort();
        // The crate numbers a token that the model's vocabulary lacks itself, one after the highest id.
        for token in value["added_tokens"].as_array().into_iter().flatten() {
            let (id, content) = (token["id"].as_u64(), token["content"].as_str().unwrap_or(""));
            let given = with_special.token_to_id(content).map(u64::from);
            if given != id {
                return Err(Error::unsupported(format!(
                    "added_tokens: \"{content}\" has id {id:?}, expected {given:?}: ids of added tokens follow those of the vocabulary without a gap"
                )));
            }
        }
        let empty = with_special.encode_fast("", true).map_err(|error| unreadable(&error))?;
        let first = empty.get_ids().first().copied();
        Ok(JsonTokenizer { with_special, plain, spelling, added, first })
    }

    /// One more than the highest id.
    pub fn size(&self) -> usize {
        let highest = self.with_special.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The BOS that the file's post-processor adds.
    pub fn first(&self) -> Option<u32> {
        self.first
    }

    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.with_special.token_to_id(token)
    }

    /// Ids of the tokens that are no text.
    pub fn special_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.added.iter().filter(|(_, _, special)| *special).map(|(id, _, _)| *id)
    }

    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<i32>, Error> {
        let tokenizer = if parse_special { &self.with_special } else { &self.plain };
        let encoding = tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::invalid(error.to_string()))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    /// The bytes of every id below size(); empty for an id that has no token.
    pub fn all_bytes(&self) -> Vec<Vec<u8>> {
        let mut bytes = vec![Vec::new(); self.size()];
        for (text, id) in self.with_special.get_vocab(true) {
            bytes[id as usize] = match self.spelling {
                Spelling::ByteLevel => byte_level::bytes_of_token(&text),
                Spelling::Pieces => match byte_of_token(&text) {
                    Some(byte) => vec![byte],
                    None => text.replace('▁', " ").into_bytes(),
                },
            };
        }
        for (id, text, _) in &self.added {
            bytes[*id as usize] = text.clone().into_bytes();
        }
        bytes
    }
}

/// Of the file's decoder, which may be a sequence.
fn spelling_of(decoder: &Value) -> Result<Spelling, Error> {
    let kind = decoder["type"].as_str().unwrap_or("null");
    match kind {
        "ByteLevel" => return Ok(Spelling::ByteLevel),
        "Metaspace" | "ByteFallback" => return Ok(Spelling::Pieces),
        _ => {}
    }
    let parts = decoder["decoders"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    parts.iter().find_map(|part| spelling_of(part).ok()).ok_or_else(|| {
        Error::unsupported(format!(
            "decoder.type is \"{kind}\"; known are ByteLevel, and Metaspace or ByteFallback, also in a Sequence"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":2,
      "strategy":"LongestFirst","stride":0},"padding":null,
      "added_tokens":[{"id":7,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,
      "normalized":false,"special":true}],"normalizer":null,
      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
      "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
      {"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},
      {"Sequence":{"id":"B","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[7],"tokens":["<s>"]}}},
      "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
      "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
      "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
      "vocab":{"a":0,"b":1,"ab":2,"<":3,"s":4,">":5,"Ġ":6},"merges":[["a","b"]]}}"#;

    #[test]
    fn special_tokens_count_where_they_are_looked_for() {
        let tokenizer = JsonTokenizer::new(FILE.as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("ab<s>a b", true).unwrap(), [2, 7, 0, 6, 1]);
        assert_eq!(tokenizer.encode("<s>", false).unwrap(), [3, 4, 5]);
        assert_eq!(tokenizer.first(), Some(7));
        assert_eq!(tokenizer.special_ids().collect::<Vec<_>>(), [7]);
        assert_eq!(tokenizer.size(), 8);
        assert_eq!(tokenizer.all_bytes()[6], b" ");
        assert_eq!(tokenizer.all_bytes()[7], b"<s>");
    }

    #[test]
    fn pieces_spell_spaces_and_bytes() {
        let decoder = r#""decoder":{"type":"Sequence","decoders":[{"type":"Replace",
          "pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]}"#;
        let byte_level = &FILE[FILE.find("\"decoder\"").unwrap()..FILE.find(",\n      \"model\"").unwrap()];
        let file = FILE.replace(byte_level, decoder).replace("\"Ġ\"", "\"▁\"").replace("\"ab\":2", "\"ab\":2,\"<0x0A>\":7");
        let file = file.replace("{\"id\":7,", "{\"id\":8,").replace("\"ids\":[7]", "\"ids\":[8]");
        let tokenizer = JsonTokenizer::new(file.as_bytes()).unwrap();
        assert_eq!(tokenizer.all_bytes()[6], b" ");
        assert_eq!(tokenizer.all_bytes()[7], b"\n");
    }

    #[test]
    fn added_tokens_that_would_be_renumbered_are_refused() {
        let file = FILE.replace("{\"id\":7,", "{\"id\":9,");
        let error = JsonTokenizer::new(file.as_bytes()).err().unwrap();
        assert!(error.message.contains("\"<s>\" has id Some(9), expected Some(7)"), "{}", error.message);
    }

    #[test]
    fn other_decoders_are_refused_by_name() {
        let file = FILE.replace("\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"");
        let error = JsonTokenizer::new(file.as_bytes()).err().unwrap();
        assert!(error.message.contains("decoder.type is \"WordPiece\""), "{}", error.message);
        assert!(JsonTokenizer::new(b"{").is_err());
    }
}
