#include "base/strict_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace keyfs {
namespace {

using nlohmann::json;

// Builds the tree while parsing, and stops at the first violation.
class Builder final : public nlohmann::json_sax<json> {
 public:
  explicit Builder(size_t max_values) : values_left_(max_values) {}

  const std::string& problem() const { return problem_; }
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") != string_t::npos) return add(value);
    return refuse("has a number that does not fit in 64 bits");
  }
  bool string(string_t& text) override { return add(std::move(text)); }
  bool binary(binary_t&) override { return refuse("is not JSON"); }
  bool start_object(size_t) override { return enter(json::object()); }
  bool key(string_t& name) override {
    auto& members = open_.back()->get_ref<json::object_t&>();
    const auto [member, is_new] = members.try_emplace(std::move(name), nullptr);
    if (!is_new) return refuse("has a duplicate key");
    member_ = &member->second;
    return true;
  }
  bool end_object() override { return leave(); }
  bool start_array(size_t) override { return enter(json::array()); }
  bool end_array() override { return leave(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return refuse("is not JSON, or is truncated");
  }

 private:
  bool refuse(const char* problem) {
    problem_ = problem;
    return false;
  }
  // The address of the value, valid until a sibling is added.
  json* place(json value) {
    --values_left_;
    if (open_.empty()) return &(root_ = std::move(value));
    if (!open_.back()->is_array()) return &(*member_ = std::move(value));
    auto& elements = open_.back()->get_ref<json::array_t&>();
    return &elements.emplace_back(std::move(value));
  }
  bool add(json value) {
    if (values_left_ == 0) return refuse("has too many values");
    place(std::move(value));
    return true;
  }
  bool enter(json value) {
    if (values_left_ == 0) return refuse("has too many values");
    if (open_.size() == kMaxJsonDepth) return refuse("is nested deeper than 32 levels");
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool leave() {
    open_.pop_back();
    return true;
  }

  json root_;
  size_t values_left_;
  std::string problem_;
  std::vector<json*> open_;  // from the root to where we are
  json* member_ = nullptr;   // of the innermost object: the value that comes next
};

static_assert(kMaxJsonDepth == 32, "the message says so");

}  // namespace

Result<json> parse_strict_json(std::string_view text, size_t max_bytes, size_t max_values) {
  if (text.size() > max_bytes) {
    return fail(Code::kCorrupt, "has more than " + std::to_string(max_bytes) + " bytes");
  }
  Builder builder(max_values);
  if (!json::sax_parse(text, &builder)) return fail(Code::kCorrupt, builder.problem());
  return builder.take();
}

}  // namespace keyfs
