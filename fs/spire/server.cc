#include "fs/spire/server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

namespace keyfs {
namespace {

constexpr auto kLongestCall = std::chrono::seconds(30);
constexpr Duration kTimeToAnswer = std::chrono::seconds(1);
constexpr int kMostBytes = 4 << 20;      // of a message
constexpr size_t kMostCalls = 8192;      // at once
constexpr size_t kMostErrorText = 3000;  // gRPC carries it in a header

// What the calls of a server share.
struct Traffic {
  explicit Traffic(const Clock& c) : clock(c) {}

  void begin_broker() {
    std::lock_guard lock(mutex);
    ++brokers;
    had_broker = true;
  }
  void end_broker() {
    std::lock_guard lock(mutex);
    --brokers;
    last = clock.now();
  }
  // False if there are too many; it is to be ended all the same.
  bool begin_call() {
    std::lock_guard lock(mutex);
    last = clock.now();
    return ++calls <= kMostCalls;
  }
  void end_call() {
    std::lock_guard lock(mutex);
    --calls;
  }

  const Clock& clock;
  mutable std::mutex mutex;  // guards what follows
  size_t brokers = 0;
  bool had_broker = false;
  size_t calls = 0;
  TimePoint last{};  // when a call or the end of a broker's stream came
};

std::string text_of(const grpc::ByteBuffer& buffer) {
  std::string out;
  out.reserve(buffer.Length());
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

// A call as gRPC and the plugin share it. The reactor is there until Finish() was called, which
// happens once, by whoever sets `finished`.
class CallState {
 public:
  explicit CallState(grpc::ServerGenericBidiReactor& reactor) : reactor_(reactor) {}

  void finish(grpc::Status status) {
    if (!claim()) return;
    reactor_.Finish(std::move(status));
  }
  void write_and_finish(const std::string& message) {
    if (!claim()) return;
    const grpc::Slice slice(message);
    out_ = grpc::ByteBuffer(&slice, 1);
    reactor_.StartWriteAndFinish(&out_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void on_cancel(std::function<void()> hook) {
    {
      std::lock_guard lock(mutex_);
      if (!cancelled_) {
        hook_ = std::move(hook);
        return;
      }
    }
    hook();
  }
  void cancel() {
    std::function<void()> hook;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      hook = std::move(hook_);
      hook_ = {};
    }
    const bool first = claim();
    if (hook && first) hook();
    if (first) reactor_.Finish(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

 private:
  bool claim() { return !finished_.exchange(true); }

  grpc::ServerGenericBidiReactor& reactor_;
  std::atomic<bool> finished_{false};
  grpc::ByteBuffer out_;
  std::mutex mutex_;  // guards what follows
  bool cancelled_ = false;
  std::function<void()> hook_;
};

class GrpcCall final : public RpcCall {
 public:
  GrpcCall(std::shared_ptr<CallState> state, TimePoint deadline)
      : state_(std::move(state)), deadline_(deadline) {}
  ~GrpcCall() override {
    state_->finish(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                "the plugin is ending, or was configured anew"));
  }
  GrpcCall(const GrpcCall&) = delete;
  GrpcCall& operator=(const GrpcCall&) = delete;

  void answer(RpcAnswer answer) override {
    if (answer.code == RpcCode::kOk) return state_->write_and_finish(answer.text);
    if (answer.text.size() > kMostErrorText) answer.text.resize(kMostErrorText);
    state_->finish(grpc::Status(static_cast<grpc::StatusCode>(answer.code), answer.text));
  }
  TimePoint deadline() const override { return deadline_; }
  void on_cancel(std::function<void()> hook) override { state_->on_cancel(std::move(hook)); }

 private:
  const std::shared_ptr<CallState> state_;
  const TimePoint deadline_;
};

class UnaryReactor final : public grpc::ServerGenericBidiReactor {
 public:
  UnaryReactor(Plugin& plugin, Traffic& traffic, std::string method, TimePoint deadline)
      : plugin_(plugin),
        traffic_(traffic),
        method_(std::move(method)),
        deadline_(deadline),
        state_(std::make_shared<CallState>(*this)) {
    StartRead(&in_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      state_->finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the call has no request"));
      return;
    }
    // Nothing of this object is used once the call may have been answered.
    const std::string method = std::move(method_);
    auto call = std::make_shared<GrpcCall>(state_, deadline_);
    std::string request = text_of(in_);
    in_.Clear();
    plugin_.call(method, std::move(request), std::move(call));
  }
  void OnCancel() override {
    const auto state = state_;
    state->cancel();
  }
  void OnDone() override {
    traffic_.end_call();
    delete this;
  }

 private:
  Plugin& plugin_;
  Traffic& traffic_;
  std::string method_;
  const TimePoint deadline_;
  const std::shared_ptr<CallState> state_;
  grpc::ByteBuffer in_;
};

// Reads, and says nothing, until the caller has had enough.
class OpenStream final : public grpc::ServerGenericBidiReactor {
 public:
  OpenStream(Traffic& traffic, bool is_broker)
      : traffic_(traffic), is_broker_(is_broker), state_(std::make_shared<CallState>(*this)) {
    if (is_broker_) traffic_.begin_broker();
    StartRead(&in_);
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      in_.Clear();
      StartRead(&in_);
    } else if (is_broker_) {
      state_->finish(grpc::Status::OK);
    }  // otherwise its one request has come, and it waits for what never does
  }
  void OnCancel() override {
    const auto state = state_;
    state->cancel();
  }
  void OnDone() override {
    if (is_broker_) traffic_.end_broker();
    traffic_.end_call();
    delete this;
  }

 private:
  Traffic& traffic_;
  const bool is_broker_;
  const std::shared_ptr<CallState> state_;
  grpc::ByteBuffer in_;
};

class RefusedCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedCall(Traffic& traffic) : traffic_(traffic) {
    Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls at once"));
  }
  void OnDone() override {
    traffic_.end_call();
    delete this;
  }

 private:
  Traffic& traffic_;
};

class PluginService final : public grpc::CallbackGenericService {
 public:
  PluginService(Plugin& plugin, Traffic& traffic) : plugin_(plugin), traffic_(traffic) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    if (!traffic_.begin_call()) return new RefusedCall(traffic_);
    const std::string& method = context->method();
    if (method == "/plugin.GRPCBroker/StartStream") return new OpenStream(traffic_, true);
    if (method == "/plugin.GRPCStdio/StreamStdio") return new OpenStream(traffic_, false);
    const auto left = std::chrono::duration_cast<Duration>(std::min<std::chrono::duration<double>>(
        context->deadline() - std::chrono::system_clock::now(), kLongestCall));
    // The caller is to hear why it took too long, before it gives up by itself.
    const Duration spare = std::min<Duration>(kTimeToAnswer, left / 10);
    const TimePoint deadline = traffic_.clock.now() + left - spare;
    return new UnaryReactor(plugin_, traffic_, method, deadline);
  }

 private:
  Plugin& plugin_;
  Traffic& traffic_;
};

}  // namespace

struct GrpcServer::Impl {
  Impl(Plugin& plugin, const Clock& clock) : traffic(clock), service(plugin, traffic) {}

  Traffic traffic;
  PluginService service;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { stop(std::chrono::milliseconds(0)); }

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(const std::string& socket, Plugin& plugin,
                                                      const Clock& clock) {
  // Its own log has another form than SPIRE's.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  auto impl = std::make_unique<Impl>(plugin, clock);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMostBytes);
  builder.RegisterCallbackGenericService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) {
    return fail(Code::kUnavailable, "could not listen on " + socket);
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

bool GrpcServer::connection_lost(Duration patience) const {
  const Traffic& traffic = impl_->traffic;
  std::lock_guard lock(traffic.mutex);
  return traffic.had_broker && traffic.brokers == 0 && traffic.calls == 0 &&
         traffic.clock.now() - traffic.last >= patience;
}

void GrpcServer::stop(std::chrono::milliseconds patience) {
  if (impl_->server == nullptr) return;
  impl_->server->Shutdown(std::chrono::system_clock::now() + patience);
  impl_->server.reset();
}

}  // namespace keyfs
