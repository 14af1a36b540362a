// Any bytes from DynamoDB are an item of the id, a page, a table's description, or an error; what
// was read as a revision can be compared by a later write.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/dynamodb/item.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_error(const keyfs::Error& error) {
  require(error.code == keyfs::Code::kUnavailable || error.code == keyfs::Code::kCorrupt);
  require(error.message.find('\n') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool accept_rkms : {false, true}) {
    const keyfs::DynamoDbNames names{"keyfs", accept_rkms};
    const auto item = keyfs::parse_get_item(names, text, "orders");
    if (!item) {
      check_error(item.error());
    } else if (*item) {
      require((*item)->record.id == "orders" && !(*item)->revision.empty());
      require(accept_rkms || !(*item)->record.from_rkms);
      require(keyfs::update_item_json(names, "orders", "{}", "next", (*item)->revision, false)
                  .has_value());
    }
    const auto page = keyfs::parse_scan(names, text);
    if (!page) {
      check_error(page.error());
    } else {
      for (const auto& entry : page->entries) require(!entry.id.starts_with('.'));
      require(!page->next || !page->next->empty());
    }
  }
  const auto store = keyfs::parse_store_id(text);
  if (!store) {
    check_error(store.error());
  } else if (*store) {
    require((*store)->size() == 32);
  }
  const auto table = keyfs::parse_table(text);
  if (!table) check_error(table.error());
  return 0;
}
