// A mount with signing keys, of a custody in memory that a test can make hang.
#pragma once

#include <dirent.h>

#include <atomic>
#include <future>
#include <set>
#include <string>
#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "fs/mount/mount_fixture.h"
#include "fs/sign/signing_keys.h"
#include "support/memory_custody.h"

namespace keyfs::testing {

// 0 and 1001 sign with ca*, 1002 sees them; 1003 has a right to a data key of that name only.
constexpr auto kSigningPolicy = R"(
[keys ca*]
read = uid:1003
create = uid:1003
[sign ca-pss]
use = uid:0
algorithms = RSASSA_PSS_SHA_256
[sign ca-slow]
use = uid:0
rate = 3/h
[sign ca*]
use = uid:0, uid:1001
see = uid:1002
[sign other*]
use = uid:1004
[admin]
read = uid:0
)";

class SigningSide final : public FuseSide::Signing {
 public:
  SigningSide(Loop& loop, Log& log)
      : loop_(loop), known(std::make_shared<MemoryKeys>()), custody(loop, known) {
    custody.hook = [this](std::string call) -> Task<void> {
      if (call != "sign") co_return;
      const Waiting waiting(hanging);
      while (hang) co_await loop_.sleep_for(std::chrono::milliseconds(5));
    };
    SigningOptions options;
    options.directory = directory_.path() + "/signing";
    auto made = SigningKeys::open({loop, log, [] { return 0.5; }, {&custody}}, options);
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    keys_ = std::move(*made);
  }
  SigningKeys& keys() override { return *keys_; }

  // What `work` gives, run on the loop.
  template <class T>
  T on_loop(std::function<Task<T>()> work) {
    auto result = std::make_shared<std::promise<T>>();
    loop_.post([this, &work, result] { loop_.spawn(run_into(work, result)); });
    return result->get_future().get();
  }
  SigningKeyPtr generate(const std::string& id, SigningKeyType type) {
    auto made = on_loop<Result<SigningKeyPtr>>([&] {
      return keys_->generate(
          GenerateRequest(id, type, "", GenerateRequest::Mode::kPut, deadline()));
    });
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? *made : nullptr;
  }
  void set_enabled(const std::string& id, bool enabled) {
    const auto done =
        on_loop<Result<SigningKeyPtr>>([&] { return keys_->set_enabled(id, enabled, deadline()); });
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
  }
  size_t calls(const std::string& call) {
    return on_loop<size_t>([&] { return count(call); });
  }
  size_t all_calls() {
    return on_loop<size_t>([&] { return count(""); });
  }

 private:
  struct Waiting {
    explicit Waiting(std::atomic<int>& at_once) : count(at_once) { ++count; }
    ~Waiting() { --count; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    std::atomic<int>& count;
  };
  template <class T>
  static Task<void> run_into(std::function<Task<T>()> work,
                             std::shared_ptr<std::promise<T>> result) {
    auto task = work();
    T value = co_await std::move(task);
    result->set_value(std::move(value));
  }
  Task<size_t> count(std::string call) {
    co_return call.empty() ? custody.log().size() : custody.count(call);
  }
  TimePoint deadline() const { return loop_.now() + std::chrono::seconds(30); }

  Loop& loop_;
  const TemporaryDirectory directory_;

 public:
  std::atomic<bool> hang{false};
  std::atomic<int> hanging{0};
  const std::shared_ptr<MemoryKeys> known;
  MemoryCustody custody;

 private:
  std::unique_ptr<SigningKeys> keys_;
};

class SignTest : public MountTest {
 protected:
  virtual FuseOptions options() const { return {}; }
  virtual Audit::Options audit_options() const { return {}; }
  void make_side() override {
    auto side = std::make_unique<FuseSide>(
        options(), CacheOptions(), nullptr, true,
        [this](Loop& loop, Log& log) {
          auto made = std::make_unique<SigningSide>(loop, log);
          signing_ = made.get();
          return made;
        },
        audit_options());
    side->policy.replace(policy_of(kSigningPolicy));
    mount(std::move(side));
  }

  static std::string digest(int number, size_t bytes = 32) {
    std::string raw(bytes, 'd');
    raw[0] = static_cast<char>(number);
    raw[1] = static_cast<char>(number >> 8);
    return hex_encode(bytes_of(raw));
  }
  std::string sign_path(const std::string& rest) const { return path(".keyfs/sign/" + rest); }
  std::string of_ca(int number = 1) const {
    return sign_path("ca/ECDSA_SHA_256/" + digest(number));
  }
  static std::string contents(int file) {
    std::string text(10'000, '\0');
    const ssize_t got = ::pread(file, text.data(), text.size(), 0);
    if (got < 0) return "errno " + std::to_string(errno);
    text.resize(static_cast<size_t>(got));
    return text;
  }
  static std::string contents(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return "errno " + std::to_string(errno);
    std::string text = contents(file);
    ::close(file);
    return text;
  }
  static int look(const std::string& path) {
    struct stat attributes {};
    return ::lstat(path.c_str(), &attributes) == 0 ? 0 : errno;
  }
  static int64_t size_of(const std::string& path) {
    struct stat attributes {};
    return ::stat(path.c_str(), &attributes) == 0 ? attributes.st_size : -errno;
  }
  static std::set<std::string> list(const std::string& path) {
    std::set<std::string> names;
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return {"errno " + std::to_string(errno)};
    while (const dirent* entry = ::readdir(directory)) names.insert(entry->d_name);
    ::closedir(directory);
    names.erase(".");
    names.erase("..");
    return names;
  }
  static bool verifies(const SigningKeyPtr& key, SigningAlgorithm algorithm, const std::string& hex,
                       const std::string& signature) {
    const auto raw = hex_decode(hex);
    return raw && key->public_key->verify(algorithm, *raw, bytes_of(signature)).has_value();
  }
  size_t lines_with(const std::string& text) {
    const std::string lines = side_->audit_lines();
    size_t count = 0;
    for (size_t at = lines.find(text); at != lines.npos; at = lines.find(text, at + 1)) ++count;
    return count;
  }

  SigningSide* signing_ = nullptr;
};

}  // namespace keyfs::testing
