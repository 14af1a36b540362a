#include "store/store.h"

namespace keyfs {

Task<void> Store::watch(ChangeListener&) { co_return; }

Task<Result<TableMade>> Store::make_table(TimePoint) {
  co_return fail(Code::kInvalid, "this kind of store has no table to create");
}

Error as_outage(Error error) {
  if (error.code == Code::kDenied) error.code = Code::kUnavailable;
  return error;
}

}  // namespace keyfs
