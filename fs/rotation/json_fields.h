// Reads the fields of a JSON object, and notes what is missing or of another type.
//
// Thread-safety: plain values. Ownership: refers to the object. Blocking: never. Errors: good().
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace keyfs {

class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object) : object_(object), good_(object.is_object()) {}

  bool good() const { return good_; }
  void bad() { good_ = false; }

  // Must be there.
  void text(const char* name, std::string& out) {
    if (const auto* value = find(name))
      take(*value, out);
    else
      good_ = false;
  }
  template <std::unsigned_integral T>
  void number(const char* name, T& out) {
    if (const auto* value = find(name))
      take(*value, out);
    else
      good_ = false;
  }
  // May be missing.
  template <class T>
  void maybe(const char* name, T& out) {
    if (const auto* value = find(name)) take(*value, out);
  }
  // One of `all` by its name.
  template <class T>
  void choice(const char* name, T& out, std::initializer_list<T> all) {
    std::string text_of;
    text(name, text_of);
    for (const T one : all) {
      if (to_string(one) == text_of) return void(out = one);
    }
    good_ = false;
  }
  // An array; null if there is none.
  const nlohmann::json* list(const char* name) {
    const auto* value = find(name);
    if (value != nullptr && value->is_array()) return value;
    if (value != nullptr) good_ = false;
    return nullptr;
  }
  const nlohmann::json* find(const char* name) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

 private:
  void take(const nlohmann::json& value, std::string& out) {
    if (!value.is_string()) return void(good_ = false);
    out = value.get<std::string>();
  }
  template <std::unsigned_integral T>
  void take(const nlohmann::json& value, T& out) {
    if (!value.is_number_unsigned()) return void(good_ = false);
    const auto wide = value.get<uint64_t>();
    if (wide > std::numeric_limits<T>::max()) return void(good_ = false);
    out = static_cast<T>(wide);
  }
  template <class T>
  void take(const nlohmann::json& value, std::optional<T>& out) {
    take(value, out.emplace());
  }
  template <class T>
  void take(const nlohmann::json& value, std::vector<T>& out) {
    if (!value.is_array()) return void(good_ = false);
    for (const auto& one : value) {
      T taken{};
      take(one, taken);
      out.push_back(std::move(taken));
    }
  }

  const nlohmann::json& object_;
  bool good_;
};

}  // namespace keyfs
