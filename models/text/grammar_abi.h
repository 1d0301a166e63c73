// The C ABI of grammars in the Rust library; only grammar.cc includes this. Ownership, errors and
// panics are as text_abi.h says. Threads: a compiler is immutable; a matcher belongs to one thread
// at a time.
#pragma once

#include "models/text/text_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum BatonGrammarKind {
  BATON_GRAMMAR_JSON_SCHEMA = 0,
  BATON_GRAMMAR_REGEX = 1,
  BATON_GRAMMAR_LARK = 2,
} BatonGrammarKind;

typedef struct BatonGrammarCompiler BatonGrammarCompiler;
typedef struct BatonMatcher BatonMatcher;

// `is_special`: for each token id, whether it is no text. `ends`: ids of the tokens that end a
// text. Nothing of the tokenizer is kept. FAILED_PRECONDITION: no end token.
BatonTextCode baton_grammar_compiler_new(const BatonTokenizer* tokenizer, const bool* is_special,
                                         size_t token_count, const int32_t* ends, size_t end_count,
                                         BatonGrammarCompiler** out, BatonBuffer* error);
void baton_grammar_compiler_free(BatonGrammarCompiler* compiler);

// A matcher at the beginning of a text; `kind` is a BatonGrammarKind. INVALID_ARGUMENT: a source
// that is wrong, unsupported, too large or too complex, with the reason. The matcher does not need
// the compiler.
BatonTextCode baton_grammar_compile(const BatonGrammarCompiler* compiler, int32_t kind,
                                    BatonBytes source, BatonMatcher** out, BatonBuffer* error);
// The schema `source` as grammars embed it (%json). `lenient`: keywords that cannot be enforced are
// left out. INVALID_ARGUMENT: no schema, or too large.
BatonTextCode baton_grammar_schema(BatonBytes source, bool lenient, BatonBuffer* out,
                                   BatonBuffer* error);
// A copy of the matcher's state that shares nothing with it.
BatonTextCode baton_matcher_copy(const BatonMatcher* matcher, BatonMatcher** out,
                                 BatonBuffer* error);
void baton_matcher_free(BatonMatcher* matcher);

// Goes on by `ids`. INVALID_ARGUMENT: they do not follow the grammar; then the matcher is dead.
BatonTextCode baton_matcher_consume(BatonMatcher* matcher, const int32_t* ids, size_t count,
                                    BatonBuffer* error);
// Sets bit id % 32 of words[id / 32] for each token that may come next. INVALID_ARGUMENT: the
// budget of a step is used up.
BatonTextCode baton_matcher_mask(BatonMatcher* matcher, uint32_t* words, size_t word_count,
                                 BatonBuffer* error);
// Nothing but an end token can follow.
bool baton_matcher_is_complete(const BatonMatcher* matcher);

#ifdef __cplusplus
}  // extern "C"
#endif
