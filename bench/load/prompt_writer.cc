#include "bench/load/prompt_writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

// Common English words: one token each, with a space in front, in almost every vocabulary.
constexpr char kWords[] =
    "the of and to in is that for it as was with be by on not he his but at are this have from or "
    "had an they which one "
    "you were her all she there would their we him been has when who will more no if out so said "
    "what up its about into "
    "than them can only other new some could time these two may then do first any my now such like "
    "our over man me even "
    "most made after also did many before must through back years where much your way well down "
    "should because each "
    "just those people how too little state good very make world still own see men work long get "
    "here between both "
    "life being under never day same another know while last might us great old year off come "
    "since against go came "
    "right used take three small large place high house without again home around end found part "
    "head left thing point "
    "hand night water room side city name light power kind line case group fact want given money "
    "land given early";

constexpr char kAdjectives[] =
    "golden silent ancient gentle hollow bright bitter distant crimson patient";
constexpr char kNouns[] =
    "river mountain garden shadow morning winter voice city harbor forest mirror letter";
constexpr char kVerbs[] =
    "carries remembers forgets follows answers gathers covers measures loses keeps";
constexpr char kEndings[] =
    "at dawn|in the rain|without a word|once again|before the storm|until the spring";

std::vector<std::string> Split(const char* text, char separator) {
  return absl::StrSplit(text, separator);
}

// Unlike std::uniform_int_distribution the same everywhere.
const std::string& Pick(const std::vector<std::string>& words, std::mt19937_64& random) {
  return words[random() % words.size()];
}

void AppendVerseLine(std::mt19937_64& random, std::vector<std::string>& pieces) {
  static const std::vector<std::string> adjectives = Split(kAdjectives, ' ');
  static const std::vector<std::string> nouns = Split(kNouns, ' ');
  static const std::vector<std::string> verbs = Split(kVerbs, ' ');
  static const std::vector<std::string> endings = Split(kEndings, '|');
  pieces.push_back(pieces.empty() ? "The" : "\nThe");
  for (const std::string* word : {&Pick(adjectives, random), &Pick(nouns, random)}) {
    pieces.push_back(absl::StrCat(" ", *word));
  }
  pieces.push_back(absl::StrCat(" ", Pick(verbs, random)));
  pieces.push_back(" the");
  pieces.push_back(absl::StrCat(" ", Pick(nouns, random)));
  for (const std::string& word : Split(Pick(endings, random).c_str(), ' ')) {
    pieces.push_back(absl::StrCat(" ", word));
  }
  pieces.back() += ",";
}

std::string Join(const std::vector<std::string>& pieces, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += pieces[i];
  return text;
}

}  // namespace

std::vector<std::string> PromptWriter::AllWords() {
  std::vector<std::string> words = Split(kWords, ' ');
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

absl::Status PromptWriter::Calibrate() {
  if (counter_ == nullptr) return absl::OkStatus();
  std::vector<std::string> kept;
  BATON_RETURN_IF_ERROR(KeepSingleTokens(AllWords(), kept));
  // A vocabulary of single characters, say, has none of them; Write then counts as it goes.
  if (kept.size() >= 20) words_ = std::move(kept);
  return absl::OkStatus();
}

absl::Status PromptWriter::KeepSingleTokens(const std::vector<std::string>& words,
                                            std::vector<std::string>& kept) {
  if (words.empty()) return absl::OkStatus();
  // "is" in front: the first word of a text has no space and may be cut in another way.
  std::string text = "is";
  for (const std::string& word : words) absl::StrAppend(&text, " ", word);
  BATON_ASSIGN_OR_RETURN(const int64_t first, counter_->Count("is"));
  BATON_ASSIGN_OR_RETURN(const int64_t all, counter_->Count(text));
  if (all == first + static_cast<int64_t>(words.size())) {
    kept.insert(kept.end(), words.begin(), words.end());
    return absl::OkStatus();
  }
  if (words.size() == 1) return absl::OkStatus();
  const auto middle = words.begin() + static_cast<std::ptrdiff_t>(words.size() / 2);
  BATON_RETURN_IF_ERROR(KeepSingleTokens({words.begin(), middle}, kept));
  return KeepSingleTokens({middle, words.end()}, kept);
}

std::vector<std::string> PromptWriter::Pieces(Style style, int64_t count, uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<std::string> pieces;
  while (static_cast<int64_t>(pieces.size()) < count) {
    if (style == Style::kVerse) {
      AppendVerseLine(random, pieces);
    } else {
      pieces.push_back(absl::StrCat(pieces.empty() ? "" : " ", Pick(words_, random)));
    }
  }
  return pieces;
}

absl::StatusOr<WrittenText> PromptWriter::Write(Style style, int64_t tokens, uint64_t seed) {
  int64_t count = tokens;
  WrittenText best;
  // One round is enough where every word is a token; a few more where lengths differ.
  for (int round = 0; round < 6; ++round) {
    best.text = Join(Pieces(style, count, seed), count);
    best.tokens = count;
    if (counter_ == nullptr) break;
    BATON_ASSIGN_OR_RETURN(best.tokens, counter_->Count(best.text));
    if (best.tokens == tokens || count == 0) break;
    const double tokens_per_piece = std::max(1.0, static_cast<double>(best.tokens) / count);
    auto change =
        static_cast<int64_t>(static_cast<double>(tokens - best.tokens) / tokens_per_piece);
    if (change == 0) change = tokens > best.tokens ? 1 : -1;
    count = std::max<int64_t>(1, count + change);
  }
  return best;
}

std::string PromptWriter::Words(int64_t count, uint64_t seed) const {
  return Join(Pieces(Style::kRandom, count, seed), count);
}

std::string PromptWriter::LengthNote() const {
  if (counter_ != nullptr) return absl::StrCat("counted by ", counter_->Source());
  return "approximate: one common word counts as one token, because the server has no /tokenize "
         "and no "
         "--tokenizer was given";
}

}  // namespace baton::bench
