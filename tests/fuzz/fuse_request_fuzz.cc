// Requests of any contents, as the kernel's side of the protocol (linux/fuse.h), over a socket:
// each that needs an answer gets exactly one, whatever it asks for. The kernel's guarantees hold:
// the sizes of structures, the ends of names, handles that were given out, references that it has.
//
// An input is a row of requests: opcode, node, uid, and what the request has for contents.
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/config.h"
#include "fs/audit/audit.h"
#include "fs/audit/audit_line.h"
#include "fs/mount/keyfs.h"
#include "fs/mount/ops.h"
#include "fs/mount/session.h"
#include "fs/policy/policy.h"
#include "fs/sign/signing_keys.h"
#include "support/memory_custody.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// The last byte of a name determines its behaviour.
class FuzzBackend final : public FuseBackend {
 public:
  FuzzBackend(KeyCache& cache, SecretArena& arena, Loop& loop)
      : cache_(cache), arena_(arena), loop_(loop) {}

  Task<Result<std::optional<Opened>>> open(OpenRequest request) override {
    co_return find(request);
  }
  void refresh(KeyRef entry) override { cache_.refreshed(*entry); }
  Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint, ForUser) override {
    if (id.back() == '1') co_return fail(Code::kUnavailable, "fuzz");
    if (id.back() == '2') co_return std::nullopt;
    KeyInfo info;
    info.version = 1;
    info.bytes = bytes_of(id);
    info.regions = regions_;
    for (const uint32_t version : {1U, 3U}) info.versions[version] = {info.bytes, {}, regions_};
    co_return info;
  }
  std::shared_ptr<KeyListing> list() override { return std::make_shared<Listing>(); }
  std::optional<uint32_t> listed_bytes(std::string_view id) const override {
    return id.back() == '3' ? std::optional<uint32_t>(64) : std::nullopt;
  }

 private:
  class Listing final : public KeyListing {
   public:
    Task<Result<KeyPageRef>> page(size_t number, TimePoint) override { co_return make(number); }
    KeyPageRef known(size_t number) const override { return number < 2 ? make(number) : nullptr; }

   private:
    static KeyPageRef make(size_t number) {
      std::vector<std::string> names;
      for (size_t i = 0; i < 20; ++i) {
        names.push_back("app-" + std::to_string(number) + "-" + std::to_string(i));
      }
      std::vector<ListedKey> keys;
      for (const auto& name : names) keys.push_back({name, KeyState::kEnabled, 32, false});
      return std::make_shared<const KeyPage>(keys, number == 3);
    }
  };

  static uint32_t bytes_of(std::string_view id) { return 16 + 16 * (id.size() % 8); }

  Result<std::optional<Opened>> find(const OpenRequest& request) {
    const std::string id(request.entry->id());
    if (id.back() == '1') return fail(Code::kUnavailable, "fuzz");
    if (id.back() == '2' && !request.may_create) return std::nullopt;
    if (id.back() == '4') return fail(Code::kRevoked, "fuzz");
    if (request.version > 3) return fail(Code::kCorrupt, "fuzz");
    auto key = std::make_shared<DataKey>();
    auto bytes = arena_.copy_of(std::string(bytes_of(id), 'k'));
    if (!bytes) die("no memory to lock");
    key->key = std::move(*bytes);
    key->version = std::max(request.version, 1U);
    key->regions = regions_;
    key->region = &regions_->front();
    cache_.put(*request.entry, key, loop_.now(), cache_.epoch());
    Opened opened;
    opened.key = key;
    opened.source = KeySource::kRegion;
    return opened;
  }

  KeyCache& cache_;
  SecretArena& arena_;
  Loop& loop_;
  const RegionList regions_ =
      std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"alpha"});
};

class TextFile final : public VirtualFile {
 public:
  std::string_view name() const override { return "version"; }
  std::string render() override { return "keyfs fuzz\n"; }
};

class NoAudit final : public AuditSink {
 public:
  LineFile::Written write(std::string_view text) override {
    return {static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), std::nullopt};
  }
  Result<void> reopen() override { return {}; }
};

class NoLog final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

std::unique_ptr<const Policy> make_policy() {
  const auto file = ConfigFile::parse(
      "[keys app-*]\nread = uid:1, gid:2\ncreate = uid:1\n[keys other-*]\nread = uid:2\n"
      "[sign ca*]\nuse = uid:1\nsee = uid:2\nrate = 100000/s\n[admin]\nread = uid:1\n",
      "fuzz");
  SystemNames names;
  auto policy = Policy::load(*file, names);
  if (!policy) die("the policy is no policy");
  return std::move(*policy);
}

// Signing keys with one key, "ca".
struct FuzzSigning {
  FuzzSigning(Loop& loop, Log& log) : custody(loop, std::make_shared<MemoryKeys>()) {
    SigningOptions options;
    options.directory = directory.path() + "/signing";
    auto made = SigningKeys::open({loop, log, [] { return 0.5; }, {&custody}}, options);
    if (!made) die("no signing keys");
    keys = std::move(*made);
  }
  // Once the loop runs.
  void make_key(Loop& loop) {
    auto done = std::make_shared<std::promise<bool>>();
    loop.post([this, &loop, done] { loop.spawn(generate(loop, done)); });
    if (!done->get_future().get()) die("no signing key");
  }
  Task<void> generate(Loop& loop, std::shared_ptr<std::promise<bool>> done) {
    GenerateRequest request("ca", SigningKeyType::kEcP256, "", GenerateRequest::Mode::kPut,
                            loop.now() + std::chrono::seconds(20));
    const auto made = co_await keys->generate(std::move(request));
    done->set_value(made.has_value());
  }

  const testing::TemporaryDirectory directory;
  MemoryCustody custody;
  std::unique_ptr<SigningKeys> keys;
};

// A served file system, and what the kernel would know about it.
class World {
 public:
  World() {
    files_.add(std::make_unique<TextFile>());
    runner_ = std::thread([this] { loop_.run(); });
    signing_.make_key(loop_);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) die("no socket");
    kernel_ = ends[0];
    const timeval patience{20, 0};
    ::setsockopt(kernel_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    auto session = FuseSession::over_socket(ends[1], ops_, log_);
    if (!session) die("no session");
    session_ = std::move(*session);
    server_ = std::thread([this] { (void)session_->run({}); });
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = 31;
    init.max_readahead = 131'072;
    call(FUSE_INIT, 0, 0, &init, sizeof init);
  }
  ~World() {
    session_->stop();
    server_.join();
    session_.reset();
    loop_.stop();
    runner_.join();
    loop_.shutdown();
    ::close(kernel_);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  struct Reply {
    int error = 0;
    std::vector<char> body;
  };

  Reply call(uint32_t opcode, uint64_t node, uint32_t uid, const void* body, size_t size) {
    const uint64_t unique = send(opcode, node, uid, body, size);
    for (;;) {
      std::vector<char> message(300'000);
      const ssize_t got = ::recv(kernel_, message.data(), message.size(), 0);
      fuse_out_header header{};
      if (got < static_cast<ssize_t>(sizeof header)) die("a request was not answered");
      std::memcpy(&header, message.data(), sizeof header);
      if (header.len != static_cast<uint32_t>(got)) die("an answer tells another length");
      if (header.unique == 0) continue;  // a notification
      if (header.unique != unique) die("an answer to nothing");
      if (header.error > 0 || header.error <= -1000) die("an errno that is none");
      return {-header.error, {message.begin() + sizeof header, message.begin() + got}};
    }
  }
  uint64_t send(uint32_t opcode, uint64_t node, uint32_t uid, const void* body, size_t size) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + size);
    header.opcode = opcode;
    header.unique = next_ += 2;
    header.nodeid = node;
    header.uid = header.gid = uid;
    std::vector<char> message(header.len);
    std::memcpy(message.data(), &header, sizeof header);
    if (size > 0) std::memcpy(message.data() + sizeof header, body, size);
    if (::send(kernel_, message.data(), message.size(), 0) != static_cast<ssize_t>(header.len)) {
      die("the other end is gone");
    }
    return header.unique;
  }

  std::map<uint64_t, uint64_t> references;                // by node
  std::vector<std::pair<uint64_t, uint64_t>> open_files;  // node and handle
  std::vector<std::pair<uint64_t, uint64_t>> open_directories;

 private:
  SystemClock clock_;
  IdlePoller poller_;
  Loop loop_{clock_, poller_};
  NoLog sink_;
  Log log_{sink_, clock_, {}};
  FuzzSigning signing_{loop_, log_};
  SecretArena arena_;
  KeyCache cache_{CacheOptions()};
  FuzzBackend backend_{cache_, arena_, loop_};
  PolicyHolder policy_{make_policy()};
  Audit audit_{std::make_unique<NoAudit>(), log_, clock_};
  ProcessCache processes_{audit_fields};
  VirtualFiles files_;
  Metrics metrics_;
  FuseOps ops_{
      FuseParts{loop_, backend_, cache_, arena_, policy_, audit_, processes_, files_, metrics_,
                log_, InodeIds{uint64_t{7} << InodeIds::kBits}, nullptr, signing_.keys.get()},
      FuseOptions{}};
  std::thread runner_;
  std::unique_ptr<FuseSession> session_;
  std::thread server_;
  int kernel_ = -1;
  uint64_t next_ = 0;
};

// What is found below .keyfs/sign.
constexpr std::array<std::string_view, 10> kSigningNames = {
    "sign",
    "ca",
    "ECDSA_SHA_256",
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "at",
    "pub.pem",
    "algorithms",
    "RSASSA_PSS_SHA_256",
    "ca-none",
    "fingerprint"};

// The rest of the input; zeros once it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  void fill(void* into, size_t size) {
    const size_t part = std::min(size, size_);
    if (part > 0) std::memcpy(into, data_, part);
    data_ += part;
    size_ -= part;
  }
  std::string name() {
    std::string text;
    const uint8_t first = byte();
    if (first >= 256 - kSigningNames.size()) return std::string(kSigningNames[255 - first]);
    for (size_t length = first; text.size() < length && !empty();) {
      const char c = static_cast<char>(byte());
      if (c == '\0' || c == '/') break;  // the kernel's names hold neither
      text += c;
    }
    return text.empty() ? "app-a" : text;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

uint64_t pick_node(World& world, Input& input) {
  const uint8_t choice = input.byte();
  if (choice < 6) return choice;
  if (choice < 10) return kVersionsNode + choice - 6;  // with kSignNode
  if (choice == 255) {
    uint64_t any = 0;
    input.fill(&any, sizeof any);
    return any;
  }
  if (world.references.empty()) return FUSE_ROOT_ID;
  auto node = world.references.begin();
  std::advance(node, choice % world.references.size());
  return node->first;
}

void with_name(World& world, Input& input, uint32_t opcode, size_t before, uint64_t node,
               uint32_t uid) {
  std::vector<char> body(before);
  input.fill(body.data(), before);
  const std::string name = input.name();
  body.insert(body.end(), name.c_str(), name.c_str() + name.size() + 1);
  const auto reply = world.call(opcode, node, uid, body.data(), body.size());
  if (opcode == FUSE_LOOKUP && reply.error == 0) {
    fuse_entry_out entry{};
    std::memcpy(&entry, reply.body.data(), std::min(sizeof entry, reply.body.size()));
    if (entry.nodeid >> InodeIds::kBits != 0) ++world.references[entry.nodeid];
  }
}

template <class Body>
void with_body(World& world, Input& input, uint32_t opcode, uint64_t node, uint32_t uid) {
  Body body{};
  input.fill(&body, sizeof body);
  world.call(opcode, node, uid, &body, sizeof body);
}

void open_file(World& world, Input& input, uint32_t opcode, uint64_t node, uint32_t uid) {
  fuse_open_in body{};
  input.fill(&body, sizeof body);
  if (input.byte() % 4 != 0) body.flags = 0;
  const auto reply = world.call(opcode, node, uid, &body, sizeof body);
  if (reply.error != 0) return;
  fuse_open_out opened{};
  std::memcpy(&opened, reply.body.data(), std::min(sizeof opened, reply.body.size()));
  if (opcode == FUSE_OPEN) {
    world.open_files.emplace_back(node, opened.fh);
  } else {
    world.open_directories.emplace_back(node, opened.fh);
  }
}

void read_file(World& world, Input& input, uint32_t uid) {
  fuse_read_in body{};
  input.fill(&body, sizeof body);
  body.size %= 200'000;
  body.offset &= INT64_MAX;
  uint64_t node = 0;
  if (!world.open_files.empty()) {
    const auto& [of, handle] = world.open_files[input.byte() % world.open_files.size()];
    node = of;
    // Of a key, any handle will do.
    if (node >> InodeIds::kBits == 0 || input.byte() % 4 != 0) body.fh = handle;
  } else if (!world.references.empty()) {
    node = world.references.begin()->first;
  }
  world.call(FUSE_READ, node, uid, &body, sizeof body);
}

void read_directory(World& world, Input& input, uint32_t uid) {
  input.byte();
  if (world.open_directories.empty()) return;
  fuse_read_in body{};
  input.fill(&body, sizeof body);
  const auto& [node, handle] = world.open_directories[input.byte() % world.open_directories.size()];
  body.fh = handle;
  body.size %= 200'000;
  body.offset &= INT64_MAX;
  world.call(FUSE_READDIR, node, uid, &body, sizeof body);
}

// IOCTL or POLL; what is asked is the fuzzer's, or what keyfs knows.
template <class Body>
void ask_open_file(World& world, Input& input, uint32_t opcode, uint32_t uid) {
  if (world.open_files.empty()) return;
  Body body{};
  input.fill(&body, sizeof body);
  const auto& [node, handle] = world.open_files[input.byte() % world.open_files.size()];
  body.fh = handle;
  if constexpr (std::is_same_v<Body, fuse_ioctl_in>) {
    body.in_size = 0;  // nothing follows
    if (input.byte() % 2 == 0) body.cmd = KEYFS_IOC_VERSION;
    body.out_size %= 65'536;
  }
  world.call(opcode, node, uid, &body, sizeof body);
}

void release_one(World& world, Input& input, uint32_t uid) {
  if (world.open_files.empty()) return;
  const size_t which = input.byte() % world.open_files.size();
  fuse_release_in body{};
  body.fh = world.open_files[which].second;
  world.call(FUSE_RELEASE, world.open_files[which].first, uid, &body, sizeof body);
  world.open_files.erase(world.open_files.begin() + static_cast<ptrdiff_t>(which));
}

void forget(World& world, Input& input) {
  if (world.references.empty()) return;
  auto node = world.references.begin();
  std::advance(node, input.byte() % world.references.size());
  const auto is_it = [&](const auto& open) { return open.first == node->first; };
  if (std::any_of(world.open_files.begin(), world.open_files.end(), is_it) ||
      std::any_of(world.open_directories.begin(), world.open_directories.end(), is_it)) {
    return;
  }
  fuse_forget_in body{};
  body.nlookup = node->second;
  world.send(FUSE_FORGET, node->first, 0, &body, sizeof body);
  world.references.erase(node);
}

void one_request(World& world, Input& input) {
  const uint8_t what = input.byte();
  const uint32_t uid = input.byte() % 4;
  switch (what % 12) {
    case 0:
      return with_name(world, input, FUSE_LOOKUP, 0, pick_node(world, input), uid);
    case 1:
      return with_body<fuse_getattr_in>(world, input, FUSE_GETATTR, pick_node(world, input), uid);
    case 2:
      return open_file(world, input, FUSE_OPEN, pick_node(world, input), uid);
    case 3:
      return read_file(world, input, uid);
    case 4:
      return release_one(world, input, uid);
    case 5:
      return open_file(world, input, FUSE_OPENDIR, pick_node(world, input), uid);
    case 6:
      return read_directory(world, input, uid);
    case 7:
      return with_body<fuse_access_in>(world, input, FUSE_ACCESS, pick_node(world, input), uid);
    case 8: {
      // Its size is the fuzzer's, so what is sent is bounded.
      fuse_getxattr_in body{};
      input.fill(&body, sizeof body);
      body.size %= 65'536;
      std::vector<char> message(sizeof body);
      std::memcpy(message.data(), &body, sizeof body);
      const bool named = input.byte() % 2 == 0;
      if (named) {
        const std::string name = input.byte() % 2 == 0 ? "user.keyfs.version" : input.name();
        message.insert(message.end(), name.c_str(), name.c_str() + name.size() + 1);
      }
      world.call(named ? FUSE_GETXATTR : FUSE_LISTXATTR, pick_node(world, input), uid,
                 message.data(), message.size());
      return;
    }
    case 9:
      return forget(world, input);
    case 10:
      world.call(FUSE_STATFS, pick_node(world, input), uid, nullptr, 0);
      return;
    default:
      break;
  }
  // What a read-only file system refuses, and what it does not have.
  const uint64_t node = pick_node(world, input);
  switch (input.byte() % 9) {
    case 0:
      return with_body<fuse_setattr_in>(world, input, FUSE_SETATTR, node, uid);
    case 1:
      return with_name(world, input, FUSE_MKDIR, sizeof(fuse_mkdir_in), node, uid);
    case 2:
      return with_name(world, input, FUSE_UNLINK, 0, node, uid);
    case 3:
      return with_body<fuse_flush_in>(world, input, FUSE_FLUSH, node, uid);
    case 4:
      return with_body<fuse_fallocate_in>(world, input, FUSE_FALLOCATE, node, uid);
    case 6:
      world.call(FUSE_READLINK, node, uid, nullptr, 0);
      return;
    case 7:
      return ask_open_file<fuse_ioctl_in>(world, input, FUSE_IOCTL, uid);
    case 8:
      return ask_open_file<fuse_poll_in>(world, input, FUSE_POLL, uid);
    default:
      return with_name(world, input, FUSE_REMOVEXATTR, 0, node, uid);
  }
}

}  // namespace
}  // namespace keyfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static keyfs::World world;
  keyfs::Input input(data, size);
  while (!input.empty()) keyfs::one_request(world, input);
  // The next input finds nothing open.
  const uint8_t nothing = 0;
  while (!world.open_files.empty()) {
    keyfs::Input none(&nothing, 0);
    keyfs::release_one(world, none, 0);
  }
  for (const auto& [node, handle] : world.open_directories) {
    fuse_release_in body{};
    body.fh = handle;
    world.call(FUSE_RELEASEDIR, node, 0, &body, sizeof body);
  }
  world.open_directories.clear();
  while (!world.references.empty()) {
    keyfs::Input none(&nothing, 0);
    keyfs::forget(world, none);
  }
  return 0;
}
