// The C ABI of the Rust library in rust/: tokenizers and chat templates. Only tokenizer.cc includes
// this.
//
// Ownership: BatonBytes are views of the caller's (or, from baton_tokenizer_token_bytes, the
// tokenizer's) memory. BatonBuffer and BatonIds belong to the library: give each back exactly once
// to its free function. Objects are made by *_new and destroyed by *_free, which accept null.
// Errors: functions that can fail return a code. On BATON_TEXT_OK `out` is written, otherwise
// `error` is: a sentence in UTF-8, to be freed. The other of the two is left alone.
// Threads: objects are immutable; every function but the free ones may run in parallel on them.
// No panic and no exception crosses the boundary: a panic is BATON_TEXT_INTERNAL.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum BatonTextCode {
  BATON_TEXT_OK = 0,
  BATON_TEXT_INVALID_ARGUMENT = 1,     // the caller's input is wrong
  BATON_TEXT_FAILED_PRECONDITION = 2,  // the model file lacks or has something unsupported
  BATON_TEXT_RESOURCE_EXHAUSTED = 3,   // a chat template used up its budget
  BATON_TEXT_INTERNAL = 4,             // a bug of the library
} BatonTextCode;

typedef struct BatonBytes {
  const uint8_t* data;  // may be null when size is 0
  size_t size;
} BatonBytes;

typedef struct BatonBuffer {
  uint8_t* data;
  size_t size;
  size_t capacity;
} BatonBuffer;

typedef struct BatonIds {
  int32_t* data;
  size_t size;
  size_t capacity;
} BatonIds;

// The tokenizer.ggml.* metadata of a GGUF file. Nothing of it is kept.
typedef struct BatonVocabulary {
  BatonBytes model;          // "gpt2", "gemma4", "llama" or "t5"
  BatonBytes pre;            // name of the pre-tokenizer; only for gpt2
  const BatonBytes* tokens;  // index is the id
  size_t token_count;
  const int32_t* token_types;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  size_t token_type_count;
  const float* scores;  // only for llama and t5
  size_t score_count;
  const BatonBytes* merges;  // only for gpt2 and gemma4: "left right", best first
  size_t merge_count;
  BatonBytes charsmap;    // only for t5: how characters are normalised; may be empty
  bool add_space_prefix;  // only for llama and t5: a space goes in front of each stretch of text
  bool remove_extra_whitespaces;  // only for t5: runs of spaces count as one, at the ends as none
} BatonVocabulary;

typedef struct BatonTokenizer BatonTokenizer;
typedef struct BatonChatTemplate BatonChatTemplate;

// FAILED_PRECONDITION names the metadata key that is missing or unsupported.
BatonTextCode baton_tokenizer_new(const BatonVocabulary* vocabulary, BatonTokenizer** out,
                                  BatonBuffer* error);
void baton_tokenizer_free(BatonTokenizer* tokenizer);

// From the bytes of a Hugging Face tokenizer.json. FAILED_PRECONDITION: it cannot be read or
// decoded from.
BatonTextCode baton_tokenizer_from_json(BatonBytes json, BatonTokenizer** out, BatonBuffer* error);
// One more than the highest id.
size_t baton_tokenizer_size(const BatonTokenizer* tokenizer);
// Of a tokenizer.json: the tokens that are no text; the id that its post-processor puts in front of
// every text (-1: none); the id of a token as the file spells it (-1: none).
void baton_tokenizer_special_ids(const BatonTokenizer* tokenizer, BatonIds* out);
int32_t baton_tokenizer_first_id(const BatonTokenizer* tokenizer);
int32_t baton_tokenizer_id_of(const BatonTokenizer* tokenizer, BatonBytes token);

// Whether models of this kind want BOS in front when the file does not say.
bool baton_tokenizer_adds_bos(const BatonTokenizer* tokenizer);
// The same of EOS behind.
bool baton_tokenizer_adds_eos(const BatonTokenizer* tokenizer);

// Ids of `text`, whose invalid UTF-8 counts as U+FFFD. Adds nothing in front or behind.
// `parse_special`: control tokens written in the text become their ids; user-defined tokens always
// do.
BatonTextCode baton_tokenizer_encode(const BatonTokenizer* tokenizer, BatonBytes text,
                                     bool parse_special, BatonIds* out, BatonBuffer* error);

// What a token stands for; possibly part of a UTF-8 character; empty for an id outside the
// vocabulary. A view that lives as long as the tokenizer.
BatonBytes baton_tokenizer_token_bytes(const BatonTokenizer* tokenizer, size_t id);

// Compiles a Jinja template. `globals_json`: a JSON object of variables that it sees (bos_token and
// the like). FAILED_PRECONDITION carries the syntax error.
BatonTextCode baton_chat_template_new(BatonBytes source, BatonBytes globals_json,
                                      BatonChatTemplate** out, BatonBuffer* error);
void baton_chat_template_free(BatonChatTemplate* chat_template);

// Renders `messages_json` (a JSON array). `variables_json`: a JSON object of further variables that
// the template sees ("tools" and the like). `local_seconds`: now, in seconds since 1970-01-01 00:00
// local time, for strftime_now. INVALID_ARGUMENT carries the template's own message where it raises
// one; RESOURCE_EXHAUSTED: it ran or printed beyond its budget (see chat_template.rs).
BatonTextCode baton_chat_template_render(const BatonChatTemplate* chat_template,
                                         BatonBytes messages_json, BatonBytes variables_json,
                                         bool add_generation_prompt, int64_t local_seconds,
                                         BatonBuffer* out, BatonBuffer* error);

void baton_buffer_free(BatonBuffer buffer);
void baton_ids_free(BatonIds ids);

#ifdef __cplusplus
}  // extern "C"
#endif
