#include "fs/spire/plugin.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/crypto.h"
#include "base/secret.h"
#include "base/thread.h"
#include "fs/spire/key_service.h"
#include "fs/spire/key_set.h"
#include "fs/spire/messages.h"
#include "fs/spire/plugin_settings.h"

namespace keyfs {
namespace {

constexpr std::string_view kKeyManager = "spire.plugin.server.keymanager.v1.KeyManager";
constexpr std::string_view kConfig = "spire.service.common.config.v1.Config";
constexpr size_t kMostConfigures = 16;  // waiting

}  // namespace

struct Plugin::Impl {
  explicit Impl(Parts p) : parts(std::move(p)) {
    thread = start_thread("keyfs-spire-cfg", [this] { run(); });
  }
  ~Impl() {
    {
      std::lock_guard lock(mutex);
      ending = true;
    }
    changed.notify_one();
    thread.join();
  }

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return ending || !waiting.empty(); });
      if (ending) return;
      auto work = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      work();
      work = {};
      wipe_registers();
      lock.lock();
    }
  }

  void later(RpcCallPtr call, std::string request, bool configures) {
    {
      std::lock_guard lock(mutex);
      if (waiting.size() >= kMostConfigures) {
        call->answer({RpcCode::kResourceExhausted, "too many configurations at once"});
        return;
      }
      waiting.push_back([this, call, request = std::move(request), configures]() mutable {
        call->answer(configures ? configure(request, call->deadline()) : validate(request));
        wipe({reinterpret_cast<uint8_t*>(request.data()), request.size()});
      });
    }
    changed.notify_one();
  }

  RpcAnswer validate(std::string_view request) {
    const auto message = parse_configure(request);
    if (!message) return {RpcCode::kInvalidArgument, "the request could not be read"};
    SecretArena arena;
    ReadSettings read = read_settings(arena, message->trust_domain, message->hcl);
    settle_files(read, /*makes=*/false);
    return RpcAnswer::of(validate_response(read.mistakes));
  }

  RpcAnswer configure(std::string_view request, TimePoint deadline) {
    const auto message = parse_configure(request);
    if (!message) return {RpcCode::kInvalidArgument, "the request could not be read"};
    SecretArena arena;
    ReadSettings read = read_settings(arena, message->trust_domain, message->hcl);
    settle_files(read, /*makes=*/true);
    if (!read.mistakes.empty()) {
      const std::string all = together(read.mistakes);
      parts.log.error("the configuration cannot be used", {{"reason", all}});
      return {RpcCode::kInvalidArgument, all};
    }
    // With the files that it names: a policy may have changed under the same name.
    auto text = sha256(bytes_of(request));
    auto files = sha256(bytes_of(read.settings.server + '\0' + read.settings.policy));
    if (!text || !files) return {RpcCode::kUnavailable, "could not hash the configuration"};
    const std::pair<Sha256, Sha256> hash(*text, *files);
    if (set() != nullptr && configured && *configured == hash) return RpcAnswer::of(std::string());
    const std::string server = read.settings.server;
    auto built =
        KeySet::build(std::move(read.settings), parts.curl, parts.clock, parts.log, deadline);
    if (!built) {
      parts.log.error("could not be configured", {{"reason", built.error().message}});
      return RpcAnswer::of(built.error());
    }
    std::shared_ptr<KeySet> before = std::move(*built);
    {
      std::lock_guard lock(mutex);
      std::swap(current, before);
    }
    configured = hash;
    parts.log.info("configured", {{"trust_domain", message->trust_domain}, {"server", server}});
    return RpcAnswer::of(std::string());
  }

  std::shared_ptr<KeySet> set() {
    std::lock_guard lock(mutex);
    return current;
  }

  void keys(std::string_view name, std::string request, RpcCallPtr call) {
    const auto method = key_method_of(name);
    if (!method) return unimplemented(*call);
    if (auto answer = refuse(*method, request)) return call->answer(std::move(*answer));
    const auto keys = set();
    if (keys == nullptr) return call->answer({RpcCode::kFailedPrecondition, "not configured"});
    keys->serve(std::move(call), *method, std::move(request));
  }

  static void unimplemented(RpcCall& call) {
    call.answer({RpcCode::kUnimplemented, "no such method"});
  }

  Parts parts;
  std::optional<std::pair<Sha256, Sha256>> configured;  // the thread's own
  std::mutex mutex;                                     // guards what follows
  std::condition_variable changed;
  std::deque<std::function<void()>> waiting;
  bool ending = false;
  std::shared_ptr<KeySet> current;
  std::thread thread;
};

Plugin::Plugin(Parts parts) : impl_(std::make_unique<Impl>(std::move(parts))) {}
Plugin::~Plugin() = default;

void Plugin::call(std::string_view method, std::string request, RpcCallPtr call) {
  if (!method.starts_with('/')) return Impl::unimplemented(*call);
  method.remove_prefix(1);
  const size_t slash = method.find('/');
  if (slash == std::string_view::npos) return Impl::unimplemented(*call);
  const std::string_view service = method.substr(0, slash);
  const std::string_view name = method.substr(slash + 1);
  if (service == kKeyManager) return impl_->keys(name, std::move(request), std::move(call));
  if (service == kConfig && (name == "Configure" || name == "Validate")) {
    return impl_->later(std::move(call), std::move(request), name == "Configure");
  }
  if (service == "spire.service.private.init.v1.Init") {
    if (name == "Init") {
      return call->answer(
          RpcAnswer::of(names_response({std::string(kKeyManager), std::string(kConfig)})));
    }
    if (name == "Deinit") return call->answer(RpcAnswer::of(std::string()));
  }
  if (service == "grpc.health.v1.Health" && name == "Check") {
    const auto asked = parse_name(request);
    if (!asked) return call->answer({RpcCode::kInvalidArgument, "the request could not be read"});
    if (!asked->empty() && *asked != "plugin") {
      return call->answer({RpcCode::kNotFound, "unknown service"});
    }
    return call->answer(RpcAnswer::of(serving_response()));
  }
  if (service == "plugin.GRPCController" && name == "Shutdown") {
    call->answer(RpcAnswer::of(std::string()));
    return impl_->parts.end();
  }
  Impl::unimplemented(*call);
}

}  // namespace keyfs
