#include "fs/policy/glob.h"

namespace keyfs {

Result<Glob> Glob::parse(std::string_view pattern) {
  Glob glob;
  glob.pattern_ = pattern;
  if (pattern.empty()) return fail(Code::kInvalid, "an empty pattern matches nothing");
  for (size_t i = 0; i < pattern.size(); ++i) {
    const auto byte = static_cast<uint8_t>(pattern[i]);
    if (byte == '*') {
      // "**" is "*"; one star fewer to try.
      if (glob.items_.empty() || glob.items_.back().kind != Item::Kind::kStar) {
        glob.items_.push_back({Item::Kind::kStar});
      }
    } else if (byte == '?') {
      glob.items_.push_back({Item::Kind::kOne});
    } else if (byte == '[') {
      const size_t end = pattern.find(']', i);
      if (end == pattern.npos) return fail(Code::kInvalid, "\"[\" without \"]\" in the pattern");
      std::string_view inside = pattern.substr(i + 1, end - i - 1);
      const bool negated = !inside.empty() && inside[0] == '!';
      if (negated) inside.remove_prefix(1);
      if (inside.empty()) return fail(Code::kInvalid, "empty \"[]\" in the pattern");
      Set set{};
      for (size_t k = 0; k < inside.size(); ++k) {
        const auto first = static_cast<uint8_t>(inside[k]);
        auto last = first;
        // A dash at either end is literal.
        if (k + 2 < inside.size() && inside[k + 1] == '-') {
          last = static_cast<uint8_t>(inside[k + 2]);
          k += 2;
        }
        if (last < first) {
          return fail(Code::kInvalid, "a reversed range in the pattern's \"[]\"");
        }
        for (unsigned c = first; c <= last; ++c) set[c / 64] |= uint64_t{1} << (c % 64);
      }
      if (negated) {
        for (uint64_t& bits : set) bits = ~bits;
      }
      glob.items_.push_back({Item::Kind::kSet, 0, static_cast<uint16_t>(glob.sets_.size())});
      glob.sets_.push_back(set);
      i = end;
    } else {
      glob.items_.push_back({Item::Kind::kByte, byte});
    }
  }
  return glob;
}

bool Glob::matches_one(const Item& item, uint8_t byte) const {
  switch (item.kind) {
    case Item::Kind::kByte:
      return item.byte == byte;
    case Item::Kind::kOne:
      return true;
    case Item::Kind::kSet:
      return (sets_[item.set][byte / 64] >> (byte % 64)) & 1;
    case Item::Kind::kStar:
      return false;
  }
  return false;
}

bool Glob::matches(std::string_view text) const {
  // On a mismatch only the last star needs to match one more byte: the later star has already tried
  // everything that an earlier one could change.
  size_t item = 0;
  size_t at = 0;
  size_t star = items_.size();
  size_t star_at = 0;
  while (at < text.size()) {
    if (item < items_.size() && items_[item].kind == Item::Kind::kStar) {
      star = item++;
      star_at = at;
    } else if (item < items_.size() && matches_one(items_[item], static_cast<uint8_t>(text[at]))) {
      ++item;
      ++at;
    } else if (star < items_.size()) {
      item = star + 1;
      at = ++star_at;
    } else {
      return false;
    }
  }
  while (item < items_.size() && items_[item].kind == Item::Kind::kStar) ++item;
  return item == items_.size();
}

}  // namespace keyfs
