#include "store/store.h"

namespace keyfs {

Task<void> Store::watch(ChangeListener&) { co_return; }

}  // namespace keyfs
