// OPEN and READ of a key: the path of a read.
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "fs/mount/audited_creation.h"
#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// How long after its deadline an open is given up, so that the keyring can first report what was
// slow.
constexpr Duration kLastResort = std::chrono::milliseconds(250);

// As it stands in the audit.
std::string_view view_word(View view) {
  if (view == View::kHex) return "hex";
  if (view == View::kCurrent) return "current";
  return view == View::kBase64 ? "base64" : "";
}

std::string why_ended(const Inode& inode, KeyState state) {
  const std::string id(inode.entry->id());
  if (inode.version() == 0 || state != KeyState::kEnabled) return revoked(id, state).message;
  return "version " + std::to_string(inode.version()) + " of key " + id +
         " is retired or destroyed";
}

}  // namespace

// What OPEN needs to know of a key. It lets go of the key: a thread can lose the processor once its
// reply is out, and until it runs again would keep in memory what is revoked in the meantime.
struct FuseHandlers::KeyFacts {
  uint32_t bytes = 0;
  uint32_t version = 0;
  WallTime created;
  const std::string* region = nullptr;

  static KeyFacts of(SharedKey key) {
    return {static_cast<uint32_t>(key->key.size()), key->version, key->created, key->region};
  }
};

// One pending OPEN or READ. Copied from the FUSE thread to the loop if it has to wait.
struct FuseHandlers::Access {
  FuseOps& ops;
  Inode& inode;  // the kernel holds it until the request is answered
  TimePoint begin;
  fuse_file_info file;
  std::optional<uint32_t> opener;  // of the handle that OPEN will return
  AuditEvent event;
  std::shared_ptr<const ProcessInfo> process;  // for the listener; null: there is none
  std::shared_ptr<Creation> creation;          // of a key that was created for this open
  bool settled = false;  // the version's name, while it is not known to be there

  Access(FuseOps& fuse_ops, Inode& opened, const fuse_file_info& info)
      : ops(fuse_ops), inode(opened), begin(fuse_ops.parts_.loop.now()), file(info) {}

  // A direct read names the reader's files as its lock owner; reading into the page cache (mmap,
  // sendfile, readahead) has none (fs/fuse/file.c: fuse_direct_io, fuse_readpages).
  bool pages() const { return file.lock_owner == 0; }

  // Call before replying: /proc/<tid> is the caller only while it blocks on us.
  void identify(fuse_req_t req, const PolicySection& section) {
    const bool audited = ops.parts_.audit.enabled();
    if (!audited && ops.parts_.opens == nullptr) return;
    const fuse_ctx* context = fuse_req_ctx(req);
    auto caller = ops.parts_.processes.get(context->pid, begin);
    if (ops.parts_.opens != nullptr) process = caller;
    if (!audited) return;
    event.time = ops.parts_.loop.clock().wall();
    event.key = inode.entry;
    event.process = std::move(caller);
    event.section = &section;
    event.uid = context->uid;
    event.gid = context->gid;
    event.asked = inode.version();
    event.view = view_word(inode.view());
  }
  // Before the reply: notes in the audit what is handed out. False: it can't, but must.
  bool audit(AuditVerdict verdict, int error) {
    if (!ops.parts_.audit.enabled()) return true;
    event.verdict = verdict;
    event.error = error;
    event.took = ops.parts_.loop.now() - begin;
    const bool tells = event.created;
    if (!ops.parts_.audit.write(std::move(event))) return false;
    if (tells && creation != nullptr) creation->told();
    return true;
  }

  // For an open that may create the key; null: the audit is off.
  std::shared_ptr<CreationWitness> witness() const {
    if (!ops.parts_.audit.enabled()) return nullptr;
    return std::make_shared<AuditedCreation>(ops.parts_.audit, ops.parts_.loop, event, begin);
  }

  void refuse(fuse_req_t req, AuditVerdict verdict, int error) {
    switch (verdict) {
      case AuditVerdict::kDenied:
        ops.counters_.denied.add();
        break;
      case AuditVerdict::kAbsent:
        ops.counters_.absent.add();
        break;
      default:
        (error == EINTR || error == ENOTCONN ? ops.counters_.interrupted : ops.counters_.failed)
            .add();
        break;
    }
    audit(verdict, error);
    let_go();
    if (settled) ops.inodes_.make_lone(inode);
    fuse_reply_err(req, error);
  }

  void let_go() {
    if (opener) FuseHandlers::let_go(ops, inode, *opener);
    opener.reset();
  }

  void serve(fuse_req_t req, const KeyFacts& key, KeySource source, bool created) {
    if (!created && is_to_look_again(req, shown(key))) {
      look_again(req);
      return;
    }
    describe(key, source, created);
    if (audit(AuditVerdict::kAllowed, 0)) {
      hand_out(req, key, source);
    } else {
      refuse_unkept(req);
    }
  }

  void look_again(fuse_req_t req) {
    let_go();
    if (settled) ops.inodes_.make_lone(inode);
    fuse_reply_err(req, ESTALE);
  }

  void describe(const KeyFacts& key, KeySource source, bool created) {
    event.version = key.version;
    event.source = source;
    event.region = source == KeySource::kCache ? nullptr : key.region;
    event.created = created;
  }

  // Whether the line of what is about to be handed out was written.
  Task<Result<bool>> noted() {
    AuditEvent line = event;  // what stays tells of a refusal
    line.verdict = AuditVerdict::kAllowed;
    line.took = ops.parts_.loop.now() - begin;
    auto writing = write_and_wait(ops.parts_.audit, ops.parts_.loop, std::move(line));
    const auto kept = co_await std::move(writing);
    if (kept && *kept && event.created && creation != nullptr) creation->told();
    co_return kept;
  }

  void refuse_unkept(fuse_req_t req) {
    ops.parts_.log.error("a key was not handed out, because its audit line can't be kept",
                         {{"id", inode.entry->id()}, {"uid", event.uid}});
    event.reason = std::make_shared<const std::string>("the audit line can't be kept");
    refuse(req, AuditVerdict::kFailed, EIO);
  }

  void hand_out(fuse_req_t req, const KeyFacts& key, KeySource source) {
    switch (source) {
      case KeySource::kRegion:
        ops.counters_.from_region.add();
        break;
      case KeySource::kReplica:
        ops.counters_.from_replica.add();
        break;
      default:
        ops.counters_.from_cache.add();
        break;
    }
    FuseHandlers::learn(inode, key.bytes, key.created);
    tell_size(shown(key));
    file.direct_io = 1;
    file.keep_cache = 0;
    file.fh = uint64_t{opener.value_or(0)} << 32 | key.version;
    FuseHandlers::settle(ops, inode);
    // Once it is answered, the kernel may forget the node, and the request is gone.
    OpenListener* const listener = process != nullptr ? ops.parts_.opens : nullptr;
    const KeyRef entry = listener != nullptr ? inode.entry : KeyRef();
    const uint32_t asked = inode.version();
    const uint32_t version = key.version;
    const uid_t uid = fuse_req_ctx(req)->uid;
    OpenListener::Times times{begin, begin};
    if (listener != nullptr) times.answered = ops.parts_.loop.now();
    if (fuse_reply_open(req, &file) != 0) {
      let_go();  // the kernel did not accept it, so there will be no RELEASE
    } else if (listener != nullptr) {
      listener->opened(entry, version, asked, uid, process, times);
    }
  }

  // The kernel uses a size that is too small, and accepts a larger one only from a reply to LOOKUP
  // or GETATTR. On ESTALE the VFS looks the name up again and retries the open (do_filp_open),
  // which the caller does not see. A file opened by descriptor (/proc/self/fd, a bind mount of the
  // file) is not looked up: the same thread comes back immediately and gets the file as it is,
  // which read(2) and fstat(2) still show correctly.
  bool is_to_look_again(fuse_req_t req, uint32_t size) {
    const uint32_t told = inode.told_bytes.load();
    if (told == 0 || told >= size) return false;
    const pid_t thread = fuse_req_ctx(req)->pid;
    if (inode.asked_again.exchange(thread + 1) != thread + 1) return true;
    inode.asked_again = 0;
    return false;
  }

  // The kernel may keep the size that it was told before this one was known; a program that opens
  // the file and then asks for its size must get the true one. See key_attributes().
  void tell_size(uint32_t size) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint32_t told = inode.told_bytes.load();
    if (told == 0 || told == size) return;
    ops.notifier_.drop_attributes_now(inode.id);
    // No need to tell the kernel again; a size that another reply has told stays.
    uint32_t before = told;
    if (told > size) inode.told_bytes.compare_exchange_strong(before, size);
  }

  // The size of the file that shows it.
  uint32_t shown(const KeyFacts& key) const { return shown_bytes(inode.view(), key.bytes); }

  // A key that ended is also removed from mappings.
  void ended() { drop_pages(ops, inode); }

  // The keyring itself reports a damaged record, once for all its waiters.
  void tell(std::string_view what, const Error& error) {
    if (error.code == Code::kCorrupt) return;
    ops.parts_.log.warn(what, {{"id", inode.entry->id()}, {"reason", error.message}});
  }

  int error_of(const Error& error) {
    if (error.code == Code::kRevoked) ended();
    return errno_of(error.code);
  }

  void refresh() {
    ops.parts_.loop.post(
        [&backend = ops.parts_.backend, entry = inode.entry] { backend.refresh(entry); });
  }
};

// The bytes of an open file. A page is visible to everybody who has it open, so check again.
void FuseHandlers::reply_bytes(fuse_req_t req, Access& access, const DataKey& key, size_t size,
                               off_t offset) {
  if (access.pages()) {
    if (const int error = may_page(access.ops, access.inode, access.file); error != 0) {
      fuse_reply_err(req, error);
      return;
    }
  }
  SecretBytes text;
  auto bytes = key.key.reveal();
  if (is_text(access.inode.view())) {
    auto made = text_of(access.inode.view(), access.ops.parts_.arena, bytes);
    if (!made) {
      access.tell("could not show a key as text", made.error());
      fuse_reply_err(req, errno_of(made.error().code));
      return;
    }
    text = std::move(*made);
    bytes = text.reveal();
  }
  if (static_cast<size_t>(offset) >= bytes.size()) {
    fuse_reply_buf(req, nullptr, 0);
    return;
  }
  // From locked memory straight into the kernel.
  const auto wanted = bytes.subspan(static_cast<size_t>(offset));
  fuse_reply_buf(req, reinterpret_cast<const char*>(wanted.data()), std::min(size, wanted.size()));
}

// With audit_required the key is handed out once its line is written, and not before: on the loop,
// where the caller can be let go while a disk hangs.
Task<void> FuseHandlers::serve_noted(std::shared_ptr<PendingReply> reply,
                                     std::shared_ptr<Access> access, KeyFacts key, KeySource source,
                                     bool created) {
  FuseOps& self = access->ops;
  if (!created && access->is_to_look_again(reply->request(), access->shown(key))) {
    if (fuse_req_t req = reply->take()) access->look_again(req);
    co_return;
  }
  access->describe(key, source, created);
  const TimePoint deadline = access->begin + self.options_.open_deadline + kLastResort;
  auto task =
      before(self.parts_.loop, deadline, "could not write the key's audit line", access->noted());
  const auto noted = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!noted) {
    access->refuse(req, AuditVerdict::kFailed, reply->errno_of_giving_up());
  } else if (!*noted) {
    const Error& error = noted->error();
    access->tell("could not open a key", error);
    access->event.reason = std::make_shared<const std::string>(error.message);
    access->refuse(req, AuditVerdict::kFailed, access->error_of(error));
  } else if (!**noted) {
    access->refuse_unkept(req);
  } else {
    access->hand_out(req, key, source);
  }
}

// The cache did not have it: ask the keyring.
Task<void> FuseHandlers::serve_open(std::shared_ptr<PendingReply> reply,
                                    std::shared_ptr<Access> access, bool may_create) {
  FuseOps& self = access->ops;
  const TimePoint deadline = access->begin + self.options_.open_deadline;
  OpenRequest request(access->inode.entry, may_create, deadline, access->inode.version());
  request.caller = fuse_req_ctx(reply->request())->uid;
  if (may_create) request.witness = access->witness();
  auto task = before(self.parts_.loop, deadline + kLastResort, "could not open the key",
                     self.parts_.backend.open(std::move(request)));
  auto opened = co_await reply->unless_given_up(std::move(task));
  if (self.parts_.audit.required() && opened && *opened && **opened) {
    Opened& got = ***opened;
    access->creation = got.creation;
    const KeyFacts key = KeyFacts::of(std::move(got.key));
    co_await serve_noted(reply, access, key, got.source, got.created);
    co_return;
  }
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!opened) {
    access->refuse(req, AuditVerdict::kFailed, reply->errno_of_giving_up());
  } else if (!*opened) {
    const Error& error = opened->error();
    access->tell("could not open a key", error);
    access->event.reason = std::make_shared<const std::string>(error.message);
    access->refuse(req, AuditVerdict::kFailed, access->error_of(error));
  } else if (!**opened) {
    access->refuse(req, AuditVerdict::kAbsent, ENOENT);
  } else {
    Opened& got = ***opened;
    access->creation = got.creation;
    access->serve(req, KeyFacts::of(std::move(got.key)), got.source, got.created);
  }
}

void FuseHandlers::open_key(fuse_req_t req, Inode& inode, const fuse_file_info& file) {
  FuseOps& self = ops(req);
  const Policy& policy = self.parts_.policy.current();
  const PolicySection& section = section_of(*inode.entry, policy);
  RequestGroups groups(req);
  const Decision decision = Policy::decide(section, caller(req), groups);
  Access access(self, inode, file);
  access.identify(req, section);
  if (decision.hidden() || !decision.read) {
    if (decision.groups_unknown) {
      self.parts_.log.warn(
          "denied a caller whose supplementary groups cannot be read: is /proc mounted with "
          "hidepid, or does keyfs run in its own PID namespace?",
          {{"uid", fuse_req_ctx(req)->uid}, {"pid", fuse_req_ctx(req)->pid}});
    }
    access.refuse(req, AuditVerdict::kDenied, decision.hidden() ? ENOENT : EACCES);
    return;
  }
  access.opener =
      self.openers_.take(policy, caller(req), groups.asked() ? groups.get() : std::nullopt);
  if (!self.handles_.add(inode.id, inode.entry, *access.opener, policy)) {
    // Refused by a newer policy, with pages that others may have read before.
    drop_pages(self, inode);
  }
  auto peeked = self.parts_.cache.peek(*inode.entry, access.begin, inode.version());
  switch (peeked.what) {
    case KeyCache::Peek::kServeAndRefresh:
      access.refresh();
      [[fallthrough]];
    case KeyCache::Peek::kServe:
      if (self.parts_.audit.required()) {
        auto reply = self.replies_.hold(req);
        auto waiting = std::make_shared<Access>(std::move(access));
        const KeyFacts key = KeyFacts::of(std::move(peeked.key));
        self.parts_.loop.post([&self, reply, waiting, key] {
          self.parts_.loop.spawn(serve_noted(reply, waiting, key, KeySource::kCache, false));
        });
        return;
      }
      access.serve(req, KeyFacts::of(std::move(peeked.key)), KeySource::kCache, false);
      return;
    case KeyCache::Peek::kRevoked:
      access.ended();
      if (self.parts_.audit.enabled()) {
        access.event.reason = std::make_shared<const std::string>(why_ended(inode, peeked.state));
      }
      access.refuse(req, AuditVerdict::kFailed, EKEYREVOKED);
      return;
    case KeyCache::Peek::kAsk:
      break;
  }
  const bool may_create =
      inode.version() == 0 && decision.create && !policy.never_creates(inode.entry->id());
  // The kernel must not be told to forget a name that is being opened: its path in /proc, by which
  // programs learn the number, would end with "(deleted)".
  if (inode.version() != 0) access.settled = self.inodes_.settle(inode);
  auto reply = self.replies_.hold(req);
  auto waiting = std::make_shared<Access>(std::move(access));
  self.parts_.loop.post([&self, reply, waiting, may_create] {
    self.parts_.loop.spawn(serve_open(reply, waiting, may_create));
  });
}

// The bytes of an open file are no longer in the cache: evicted, or too old to serve without
// asking.
Task<void> FuseHandlers::serve_read(std::shared_ptr<PendingReply> reply,
                                    std::shared_ptr<Access> access, size_t size, off_t offset) {
  FuseOps& self = access->ops;
  const TimePoint deadline = access->begin + self.options_.open_deadline;
  OpenRequest request(access->inode.entry, false, deadline, static_cast<uint32_t>(access->file.fh));
  request.caller = fuse_req_ctx(reply->request())->uid;
  auto task = before(self.parts_.loop, deadline + kLastResort, "could not read the key",
                     self.parts_.backend.open(std::move(request)));
  const auto opened = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!opened) {
    fuse_reply_err(req, reply->errno_of_giving_up());
  } else if (!*opened || !**opened) {
    const Error error =
        *opened ? Error(Code::kUnavailable, "it is no longer there") : opened->error();
    access->tell("could not read an open key", error);
    if (access->pages()) {
      self.late_reads_.note(fuse_req_ctx(req)->pid, access->inode.id, access->begin,
                            self.parts_.loop.now());
    }
    fuse_reply_err(req, access->error_of(error));
  } else {
    reply_bytes(req, *access, *(**opened)->key, size, offset);
  }
}

void FuseHandlers::read_key(fuse_req_t req, Inode& inode, size_t size, off_t offset,
                            const fuse_file_info& file) {
  FuseOps& self = ops(req);
  Access access(self, inode, file);
  if (!still_permitted(self, inode, file) ||
      (access.pages() && self.handles_.any_refused(inode.id))) {
    fuse_reply_err(req, EACCES);
    return;
  }
  const auto version = static_cast<uint32_t>(file.fh);
  const auto peeked = self.parts_.cache.peek(*inode.entry, access.begin, version);
  switch (peeked.what) {
    case KeyCache::Peek::kServeAndRefresh:
      access.refresh();
      [[fallthrough]];
    case KeyCache::Peek::kServe:
      reply_bytes(req, access, *peeked.key, size, offset);
      return;
    case KeyCache::Peek::kRevoked:
      access.ended();
      fuse_reply_err(req, EKEYREVOKED);
      return;
    case KeyCache::Peek::kAsk:
      break;
  }
  if (access.pages()) {
    const auto first = self.late_reads_.take(fuse_req_ctx(req)->pid, inode.id, access.begin);
    if (first && *first + self.options_.open_deadline <= access.begin) {
      fuse_reply_err(req, ETIMEDOUT);
      return;
    }
    access.begin = first.value_or(access.begin);
  }
  auto reply = self.replies_.hold(req);
  auto waiting = std::make_shared<Access>(std::move(access));
  self.parts_.loop.post([&self, reply, waiting, size, offset] {
    self.parts_.loop.spawn(serve_read(reply, waiting, size, offset));
  });
}

std::shared_ptr<FuseHandlers::Access> FuseHandlers::begin_looking(fuse_req_t req, Inode& inode) {
  FuseOps& self = ops(req);
  auto access = std::make_shared<Access>(self, inode, fuse_file_info{});
  access->identify(req, section_of(*inode.entry, self.parts_.policy.current()));
  return access;
}

void FuseHandlers::refuse_looking(fuse_req_t req, Access& access, AuditVerdict verdict, int error,
                                  const std::string& reason) {
  if (!reason.empty()) access.event.reason = std::make_shared<const std::string>(reason);
  access.refuse(req, verdict, error);
}

}  // namespace keyfs
