#include "store/strict_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace keyfs {
namespace {

using nlohmann::json;

// Looks at the text before a tree is made of it, and stops at the first thing that it refuses.
class Checker final : public nlohmann::json_sax<json> {
 public:
  const std::string& problem() const { return problem_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t& text) override {
    if (text.find_first_of(".eE") != string_t::npos) return true;
    return refuse("has a number that does not fit 64 bits");
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return refuse("is not JSON"); }
  bool start_object(size_t) override { return enter(); }
  bool key(string_t& name) override {
    return keys_.back().insert(name).second || refuse("has a key that stands twice");
  }
  bool end_object() override { return leave(); }
  bool start_array(size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return refuse("is not JSON, or is cut short");
  }

 private:
  bool refuse(const char* problem) {
    problem_ = problem;
    return false;
  }
  bool enter() {
    if (keys_.size() == kMaxJsonDepth) return refuse("is nested deeper than 32 levels");
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::string problem_;
  std::vector<std::set<string_t>> keys_;  // of the objects that are open
};

static_assert(kMaxJsonDepth == 32, "the message says so");

}  // namespace

Result<json> parse_strict_json(std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return fail(Code::kCorrupt, "has more than " + std::to_string(max_bytes) + " bytes");
  }
  Checker checker;
  if (!json::sax_parse(text, &checker)) return fail(Code::kCorrupt, checker.problem());
  json tree = json::parse(text, nullptr, false);
  if (tree.is_discarded()) return fail(Code::kCorrupt, "is not JSON");
  return tree;
}

}  // namespace keyfs
