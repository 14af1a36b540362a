#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/curl_handles.h"
#include "base/http.h"
#include "base/secret.h"

namespace keyfs {
namespace {

// Memory that these libraries free has held requests, replies, headers or session keys. The usable
// size covers all that was requested, so no bookkeeping is needed.
void wiping_free(void* memory) {
  if (memory == nullptr) return;
  wipe({static_cast<uint8_t*>(memory), malloc_usable_size(memory)});
  std::free(memory);
}

// realloc() itself would leave the old bytes behind when it moves them.
void* wiping_realloc(void* memory, size_t size) {
  if (memory == nullptr) return std::malloc(size);
  if (size == 0) {
    wiping_free(memory);
    return nullptr;
  }
  const size_t old_size = malloc_usable_size(memory);
  if (size <= old_size && size >= old_size / 2) {
    wipe({static_cast<uint8_t*>(memory) + size, old_size - size});
    return memory;
  }
  void* larger = std::malloc(size);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, memory, std::min(size, old_size));
  wiping_free(memory);
  return larger;
}

void* plain_malloc(size_t size) { return std::malloc(size); }
void* plain_calloc(size_t count, size_t size) { return std::calloc(count, size); }
char* plain_strdup(const char* text) { return ::strdup(text); }

void* openssl_malloc(size_t size, const char*, int) {
  return size == 0 ? nullptr : std::malloc(size);
}
void* openssl_realloc(void* memory, size_t size, const char*, int) {
  return wiping_realloc(memory, size);
}
void openssl_free(void* memory, const char*, int) { wiping_free(memory); }

}  // namespace

CurlGlobal::CurlGlobal() {
  if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1) {
    wipes_openssl_ = true;
  } else {
    CRYPTO_free_fn current = nullptr;
    CRYPTO_get_mem_functions(nullptr, nullptr, &current);
    wipes_openssl_ = current == openssl_free;  // by an earlier CurlGlobal
  }
  if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, plain_malloc, wiping_free, wiping_realloc,
                           plain_strdup, plain_calloc) != CURLE_OK) {
    std::abort();  // out of memory in the first milliseconds of main()
  }
}

CurlGlobal::~CurlGlobal() { curl_global_cleanup(); }

CurlPoller::CurlPoller(CurlGlobal&) : state_(std::make_unique<State>()) {
  state_->share.reset(curl_share_init());
  state_->multi.reset(curl_multi_init());
  if (!state_->share || !state_->multi) std::abort();
  curl_share_setopt(state_->share.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  CURLM* multi = state_->multi.get();
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, long{CURLPIPE_MULTIPLEX});
  // The total kept idle. By default curl keeps four per running transfer, and a single reader would
  // lose the connections to the other regions.
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 256L);
}

CurlPoller::~CurlPoller() = default;

// Wipes what libcurl, OpenSSL, and the dynamic linker when it saves registers, left of secret
// replies on this thread's stack below the current frame.
[[gnu::noinline]] static void wipe_stack_below() {
  std::array<uint8_t, 32 * 1024> frames;  // NOLINT: its old contents are what must be wiped
  wipe(frames);
}

void CurlPoller::wait(std::optional<Duration> timeout) {
  CURLM* multi = state_->multi.get();
  int running = 0;
  if (std::exchange(state_->added, false)) curl_multi_perform(multi, &running);

  const auto handle_finished = [&] {
    bool any = false;
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CurlDone* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      transfer->done(message->data.result);
      any = true;
    }
    return any;
  };

  int milliseconds = 60'000;
  if (handle_finished()) {
    milliseconds = 0;
  } else if (timeout) {
    // Rounded up: otherwise a timer due in 0.4 ms would cause busy polling.
    const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
    milliseconds = static_cast<int>(std::clamp<int64_t>(rounded, 0, milliseconds));
  }
  if (milliseconds > 0) wipe_registers();
  curl_multi_poll(multi, nullptr, 0, milliseconds, nullptr);
  curl_multi_perform(multi, &running);
  handle_finished();
  wipe_stack_below();
}

void CurlPoller::wake() { curl_multi_wakeup(state_->multi.get()); }

}  // namespace keyfs
