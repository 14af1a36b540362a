// Counts allocations and mutex locks of a running program, by thread name: preloaded by
// LD_PRELOAD, it adds to a file that the benchmark maps as well.
//
//   LD_PRELOAD=libcount_calls.so COUNT_CALLS_FILE=/a/file program...
//
// The file holds 32 slots of 64 bytes: the thread's name (16 bytes), then four counters (8 bytes
// each, native order): allocations, frees, mutex locks, contended mutex locks. Threads of one name
// share a slot.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

struct alignas(64) Slot {
  char name[16];
  std::atomic<uint64_t> allocations;
  std::atomic<uint64_t> frees;
  std::atomic<uint64_t> locks;
  std::atomic<uint64_t> contended;
};
constexpr size_t kSlots = 32;

std::atomic<Slot*> slots{nullptr};

__attribute__((constructor)) void start() {
  const char* path = std::getenv("COUNT_CALLS_FILE");
  if (path == nullptr) return;
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, kSlots * sizeof(Slot)) != 0) return;
  void* memory = mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory != MAP_FAILED) slots = static_cast<Slot*>(memory);
}

// A thread is named after it has started, so its name is read each time.
Slot* slot() {
  Slot* all = slots.load(std::memory_order_acquire);
  if (all == nullptr) return nullptr;
  char name[16] = {};
  prctl(PR_GET_NAME, name, 0, 0, 0);
  for (size_t i = 0; i < kSlots; ++i) {
    if (all[i].name[0] == '\0') std::memcpy(all[i].name, name, sizeof name);
    if (std::memcmp(all[i].name, name, sizeof name) == 0) return &all[i];
  }
  return nullptr;
}

template <class Function>
Function next(std::atomic<Function>& cached, const char* name) {
  Function function = cached.load(std::memory_order_acquire);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
    cached.store(function, std::memory_order_release);
  }
  return function;
}

// glibc's own: dlsym() cannot be used, since it allocates.
extern "C" void* __libc_malloc(size_t);
extern "C" void* __libc_calloc(size_t, size_t);
extern "C" void* __libc_realloc(void*, size_t);
extern "C" void* __libc_memalign(size_t, size_t);
extern "C" void __libc_free(void*);

void* counted(void* memory) {
  if (Slot* mine = slot()) mine->allocations.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

}  // namespace

extern "C" {

void* malloc(size_t size) { return counted(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void* realloc(void* memory, size_t size) { return counted(__libc_realloc(memory, size)); }
void* memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) {
  return counted(__libc_memalign(alignment, size));
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = counted(__libc_memalign(alignment, size));
  return *out == nullptr ? 12 : 0;
}
void free(void* memory) {
  if (memory != nullptr) {
    if (Slot* mine = slot()) mine->frees.fetch_add(1, std::memory_order_relaxed);
  }
  __libc_free(memory);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  using Lock = int (*)(pthread_mutex_t*);
  static std::atomic<Lock> lock{nullptr};
  static std::atomic<Lock> trylock{nullptr};
  if (Slot* mine = slot()) {
    mine->locks.fetch_add(1, std::memory_order_relaxed);
    if (next(trylock, "pthread_mutex_trylock")(mutex) == 0) return 0;
    mine->contended.fetch_add(1, std::memory_order_relaxed);
  }
  return next(lock, "pthread_mutex_lock")(mutex);
}

}  // extern "C"
