// A list's entry for one record. Thread-safety: a plain function. Blocking: never. Errors: none.
#pragma once

#include <string>

#include "base/result.h"
#include "store/store.h"

namespace keyfs {

// A record that does not parse is listed as corrupt: it exists, and nothing may take its place.
ListPage::Entry to_list_entry(const std::string& id, const Result<Record>& record);

}  // namespace keyfs
