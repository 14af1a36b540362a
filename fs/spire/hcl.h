// The part of HCL 1 that a plugin's configuration is written in, read strictly.
//   https://github.com/hashicorp/hcl/tree/hcl1
//
//   # comment, // comment, /* comment */
//   region     = "us-east-1"          a text, a number, true or false
//   regions    = ["us-east-1", "x"]   a list of these
//   key_tags   = { team = "pki" }     a map to these, commas as you like
//   key_tags { team = "pki" }         the same
//
// Names may stand in quotes. A name that comes twice is a mistake, as are heredocs, and lists and
// maps within others.
//
// Thread-safety: plain values. Ownership: a document refers to the text that it was read from: a
// value is copied where it is asked for, so that a secret goes into locked memory only. Blocking:
// never. Errors: kInvalid, "line 3: ...", which quotes names, never values.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

class HclScalar {
 public:
  enum class Kind { kText, kNumber, kBool };
  HclScalar() = default;
  HclScalar(Kind kind, std::string_view raw) : kind_(kind), raw_(raw) {}

  Kind kind() const { return kind_; }
  bool is_true() const { return kind_ == Kind::kBool && raw_ == "true"; }
  // Without its quotes and escapes; of a number or a bool as it is written.
  std::string text() const;
  // SecretArena::allocate()'s errors.
  Result<SecretBytes> secret(SecretArena& arena) const;

 private:
  Kind kind_ = Kind::kText;
  std::string_view raw_;
};

struct HclEntry {
  enum class Kind { kScalar, kList, kMap };
  std::string name;
  size_t line = 0;
  Kind kind = Kind::kScalar;
  HclScalar scalar;
  std::vector<HclScalar> list;
  std::vector<std::pair<std::string, HclScalar>> map;
};

constexpr size_t kMaxHcl = size_t{256} << 10;  // bytes

struct HclDocument {
  std::vector<HclEntry> entries;
  std::vector<std::string> mistakes;  // names that come twice: one line each
};

Result<HclDocument> parse_hcl(std::string_view text);

}  // namespace keyfs
