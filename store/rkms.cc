#include "store/rkms.h"

#include <string_view>

namespace keyfs {
namespace {

// What is quoted in other errors of that code never ends so.
constexpr std::string_view kEnd =
    ": it was written by RKMS; to read such records, set accept_rkms_records = yes";

}  // namespace

Error rkms_not_accepted(const std::string& id) {
  return Error(Code::kCorrupt, "record of key " + id + " is corrupt" + std::string(kEnd));
}

bool is_rkms_not_accepted(const Error& error) {
  return error.code == Code::kCorrupt && error.message.ends_with(kEnd);
}

}  // namespace keyfs
