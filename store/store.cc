#include "store/store.h"

namespace keyfs {

Task<void> Store::watch(ChangeListener&) { co_return; }

Task<Result<TableMade>> Store::make_table(TimePoint) {
  co_return fail(Code::kInvalid, "this kind of store has no table to create");
}

Task<Result<void>> check_same_store(Store& store, TimePoint deadline) {
  // No key's id; and a miss is told only by the store that is known.
  std::string nobody = ".";
  auto miss = co_await store.get(std::move(nobody), Read::kStrong, deadline);
  if (!miss) co_return fail(std::move(miss.error()));
  co_return Result<void>();
}

Error as_outage(Error error) {
  if (error.code == Code::kDenied) error.code = Code::kUnavailable;
  return error;
}

}  // namespace keyfs
