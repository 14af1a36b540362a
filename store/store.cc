#include "store/store.h"

namespace keyfs {

Task<void> Store::watch(ChangeListener&) { co_return; }

Task<Result<TableMade>> Store::make_table(TimePoint) {
  co_return fail(Code::kInvalid, "this kind of store has no table to create");
}

}  // namespace keyfs
