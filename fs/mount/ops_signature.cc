// OPEN below .keyfs/sign: opening a digest's name signs it, once for each open, and READ gives that
// signature as long as the file is open: it was handed out.
//
// Sizes: the length of an ECDSA signature is known when it is made. stat(2) of a name tells the
// largest that it may be (fs/mount/sign_paths.h), and of one that is open the true one, so that
// `cp` and `tar`, which ask for the size of what they have opened, copy exactly that. An RSA
// signature is as long as its key.
//
// Pages (mmap, sendfile) are of the node, and so shared by all who have the same digest open: each
// of them was permitted to have it signed. They go when one of them closes it.
#include <array>
#include <cerrno>
#include <utility>

#include "base/encoding.h"
#include "fs/mount/audited_creation.h"
#include "fs/mount/handlers.h"

namespace keyfs {
namespace {

// As in ops_key.cc: so that who is asked can first report what was slow.
constexpr Duration kSignLastResort = std::chrono::milliseconds(250);

}  // namespace

FuseOps::SignCounters::SignCounters(Metrics& metrics)
    : made(metrics.counter("keyfs_signatures_total", "Signatures asked for, by result.",
                           {{"result", "signed"}})),
      denied(metrics.counter("keyfs_signatures_total", "", {{"result", "denied"}})),
      absent(metrics.counter("keyfs_signatures_total", "", {{"result", "absent"}})),
      throttled(metrics.counter("keyfs_signatures_total", "", {{"result", "throttled"}})),
      stale(metrics.counter("keyfs_signatures_total", "", {{"result", "stale"}})),
      failed(metrics.counter("keyfs_signatures_total", "", {{"result", "failed"}})),
      interrupted(metrics.counter("keyfs_signatures_total", "", {{"result", "interrupted"}})) {}

// One pending OPEN. Copied from the FUSE thread to the loop.
struct FuseHandlers::SignAccess {
  FuseOps& ops;
  SignNodePtr node;
  TimePoint begin;
  fuse_file_info file;
  AuditEvent event;
  SigningFacts facts;
  const SignSection* counted = nullptr;  // by whose rate it was counted
  bool again = false;  // the kernel's second try after ESTALE, of which the first has told

  SignAccess(FuseOps& fuse_ops, SignNodePtr opened, const fuse_file_info& info)
      : ops(fuse_ops), node(std::move(opened)), begin(fuse_ops.parts_.loop.now()), file(info) {}

  const SignPlace& place() const { return node->place; }

  // Before the reply, as for keys.
  void identify(fuse_req_t req, const SignSection& section, const SigningKeyPtr& key) {
    const fuse_ctx* context = fuse_req_ctx(req);
    event.kind = AuditEvent::Kind::kSign;
    event.section = &section;
    event.uid = context->uid;
    event.gid = context->gid;
    if (!ops.parts_.audit.enabled()) return;
    event.time = ops.parts_.loop.clock().wall();
    event.process = ops.parts_.processes.get(context->pid, begin);
    facts.id = place().id;
    facts.pinned = place().pinned;
    facts.algorithm = to_string(place().algorithm);
    facts.digest = hex_encode(bytes_of(place().digest));
    // Of the key that there is: what the caller pins is only what he says.
    if (key != nullptr && key->public_key != nullptr) {
      facts.fingerprint = key->public_key->fingerprint();
    }
  }

  AuditEvent line(AuditVerdict verdict, int error) {
    AuditEvent made = event;
    made.signing = std::make_shared<const SigningFacts>(facts);
    made.verdict = verdict;
    made.error = error;
    made.took = ops.parts_.loop.now() - begin;
    return made;
  }

  void refuse(fuse_req_t req, Counter& result, AuditVerdict verdict, int error,
              const std::string& reason = "") {
    if (!again || error != ESTALE) {
      result.add();
      if (!reason.empty()) event.reason = std::make_shared<const std::string>(reason);
      if (ops.parts_.audit.enabled()) ops.parts_.audit.write(line(verdict, error));
    }
    fuse_reply_err(req, error);
  }
  void refuse_given_up(fuse_req_t req, int error) {
    refuse(req, ops.sign_counters_->interrupted, AuditVerdict::kFailed, error);
  }
  void refuse_unkept(fuse_req_t req) {
    ops.parts_.log.error("a signature was not handed out, because its audit line can't be kept",
                         {{"id", place().id}, {"uid", event.uid}});
    refuse(req, ops.sign_counters_->failed, AuditVerdict::kFailed, EIO,
           "the audit line can't be kept");
  }
  void fail_with(fuse_req_t req, const Error& error) {
    FuseOps::SignCounters& counters = *ops.sign_counters_;
    ops.parts_.log.warn("could not sign", {{"id", place().id}, {"reason", error.message}});
    // A name was of the right length, so the key is of another type, or no key can have that id.
    const SigningKeyPtr key = ops.parts_.signing->find(place().id);
    const bool fits = key != nullptr && key->public_key != nullptr &&
                      signs_with(key->public_key->type(), place().algorithm);
    if (error.code == Code::kInvalid && !fits) {
      return refuse(req, counters.absent, AuditVerdict::kAbsent, ENOENT, error.message);
    }
    Counter& result = error.code == Code::kThrottled ? counters.throttled : counters.failed;
    refuse(req, result, AuditVerdict::kFailed, errno_of(error.code), error.message);
  }
  // On ESTALE the VFS looks the name up again, and opens it once more (do_filp_open).
  void refuse_stale(fuse_req_t req) {
    const pid_t thread = fuse_req_ctx(req)->pid + 1;
    node->told_stale = again ? 0 : thread;
    if (counted != nullptr) ops.sign_rates_.give_back(event.uid, *counted);
    refuse(req, ops.sign_counters_->stale, AuditVerdict::kFailed, ESTALE,
           "the key is no longer the current one of its id");
  }

  void describe(const SignedDigest& done) {
    facts.fingerprint = done.by->public_key->fingerprint();
    facts.region = done.signature.region;
    facts.request_id = done.signature.request_id;
  }
  // Whether the line of what is about to be handed out was written.
  Task<Result<bool>> noted() {
    auto writing =
        write_and_wait(ops.parts_.audit, ops.parts_.loop, line(AuditVerdict::kAllowed, 0));
    const auto kept = co_await std::move(writing);
    co_return kept;
  }

  void hand_out(fuse_req_t req, std::string signature) {
    ops.sign_counters_->made.add();
    const auto bytes = static_cast<uint32_t>(signature.size());
    file.direct_io = 1;
    file.keep_cache = 0;
    file.fh = ops.texts_.add(std::make_shared<const std::string>(std::move(signature)));
    ops.sign_nodes_.opened(*node, bytes);
    const uint64_t handle = file.fh;
    if (fuse_reply_open(req, &file) == 0) return;
    ops.texts_.remove(handle);  // the kernel did not accept it, so there will be no RELEASE
    ops.sign_nodes_.closed(*node);
  }
};

bool FuseHandlers::open_sign(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& file) {
  SignNodePtr node = sign_node(ops(req), ino);
  if (node == nullptr || !is_sign_file(node->place.view)) return false;
  if (node->place.view == SignView::kPublic) {
    open_public(req, *node, file);
  } else {
    open_signature(req, std::move(node), file);
  }
  return true;
}

void FuseHandlers::open_signature(fuse_req_t req, SignNodePtr node, const fuse_file_info& file) {
  FuseOps& self = ops(req);
  FuseOps::SignCounters& counters = *self.sign_counters_;
  SignAccess access(self, std::move(node), file);
  const SignPlace& place = access.place();
  const SignSection& section = self.parts_.policy.current().sign_section_for(place.id);
  const SigningKeyPtr key = self.parts_.signing->find(place.id);
  access.identify(req, section, key);
  if (section.hidden) {
    return access.refuse(req, counters.denied, AuditVerdict::kDenied, ENOENT);
  }
  RequestGroups groups(req);
  const SignDecision decision = section.decide(caller(req), groups);
  if (!decision.use) {
    if (decision.groups_unknown) {
      self.parts_.log.warn(
          "denied a signature to a caller whose supplementary groups cannot be read: is /proc "
          "mounted with hidepid, or does keyfs run in its own PID namespace?",
          {{"uid", access.event.uid}, {"pid", fuse_req_ctx(req)->pid}});
    }
    return access.refuse(req, counters.denied, AuditVerdict::kDenied, EACCES);
  }
  if (!section.permits(place.algorithm)) {
    return access.refuse(req, counters.denied, AuditVerdict::kDenied, EACCES,
                         "the section does not permit this algorithm");
  }
  const bool is_of_it = key != nullptr && key->public_key != nullptr &&
                        (place.pinned.empty() || place.pinned == key->public_key->fingerprint());
  if (is_of_it && !signs_with(key->public_key->type(), place.algorithm)) {
    return access.refuse(req, counters.absent, AuditVerdict::kAbsent, ENOENT,
                         "the key does not sign with this algorithm");
  }
  access.again = access.node->told_stale.exchange(0) == fuse_req_ctx(req)->pid + 1;
  if (!access.again) {
    if (!self.sign_rates_.admit(access.event.uid, section, access.begin)) {
      return access.refuse(req, counters.throttled, AuditVerdict::kDenied, EAGAIN,
                           "more signatures than rate = " + section.rate_text + " permits");
    }
    access.counted = &section;
  }
  auto reply = self.replies_.hold(req);
  auto waiting = std::make_shared<SignAccess>(std::move(access));
  self.parts_.loop.post(
      [&self, reply, waiting] { self.parts_.loop.spawn(serve_signature(reply, waiting)); });
}

Task<void> FuseHandlers::serve_signature(std::shared_ptr<PendingReply> reply,
                                         std::shared_ptr<SignAccess> access) {
  FuseOps& self = access->ops;
  FuseOps::SignCounters& counters = *self.sign_counters_;
  const TimePoint deadline = access->begin + self.options_.open_deadline;
  if (self.signings_.judge(access->event.uid) != WaitingPlaces::Verdict::kAdmitted) {
    if (fuse_req_t req = reply->take()) {
      access->refuse(req, counters.throttled, AuditVerdict::kFailed, EAGAIN,
                     "too many signatures are waited for");
    }
    co_return;
  }
  const WaitingPlaces::Place waiting(self.signings_, access->event.uid);
  const SignPlace& place = access->place();
  DigestRequest request(place.id, place.pinned, place.algorithm, place.digest, deadline);
  auto task = before(self.parts_.loop, deadline + kSignLastResort, "could not sign",
                     self.parts_.signing->sign(std::move(request)));
  auto came = co_await reply->unless_given_up(std::move(task));
  const bool made = came && *came && (**came).done;
  if (made) access->describe(*(**came).done);
  std::optional<Result<bool>> noted = Result<bool>(true);
  if (made && self.parts_.audit.required()) {
    auto writing = before(self.parts_.loop, deadline + kSignLastResort,
                          "could not write the signature's audit line", access->noted());
    noted = co_await reply->unless_given_up(std::move(writing));
  }
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!came || !noted) {
    access->refuse_given_up(req, reply->errno_of_giving_up());
  } else if (!*came) {
    access->fail_with(req, came->error());
  } else if ((**came).stale) {
    access->refuse_stale(req);
  } else if (!made) {
    access->refuse(req, counters.absent, AuditVerdict::kAbsent, ENOENT);
  } else if (!*noted) {
    access->fail_with(req, noted->error());
  } else if (!**noted) {
    access->refuse_unkept(req);
  } else if (!self.parts_.audit.required() && self.parts_.audit.enabled() &&
             !self.parts_.audit.write(access->line(AuditVerdict::kAllowed, 0))) {
    access->refuse_unkept(req);
  } else {
    access->hand_out(req, std::move((**came).done->signature.bytes));
  }
}

void FuseHandlers::open_public(fuse_req_t req, const SignNode& node, const fuse_file_info& file) {
  FuseOps& self = ops(req);
  const SignPlace& place = node.place;
  const SignSection& section = self.parts_.policy.current().sign_section_for(place.id);
  RequestGroups groups(req);
  if (section.hidden || !section.may_see(caller(req), groups)) {
    fuse_reply_err(req, section.hidden ? ENOENT : EACCES);
    return;
  }
  const SigningKeyPtr key = self.parts_.signing->find(place.id);
  if (key != nullptr && key->public_key != nullptr) {
    reply_public(req, self, file, public_text(place.file, *key, section));
    return;
  }
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&self, reply, place, &section, file] {
    self.parts_.loop.spawn(serve_public(self, reply, place, section, file));
  });
}

void FuseHandlers::reply_public(fuse_req_t req, FuseOps& self, fuse_file_info file,
                                std::string text) {
  file.direct_io = 1;
  file.fh = self.texts_.add(std::make_shared<const std::string>(std::move(text)));
  const uint64_t handle = file.fh;
  if (fuse_reply_open(req, &file) != 0) self.texts_.remove(handle);
}

// The id is not known here: the custody is asked.
Task<void> FuseHandlers::serve_public(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                      SignPlace place, const SignSection& section,
                                      fuse_file_info file) {
  const uid_t user = fuse_req_ctx(reply->request())->uid;
  if (self.signings_.judge(user) != WaitingPlaces::Verdict::kAdmitted) {
    if (fuse_req_t req = reply->take()) fuse_reply_err(req, EAGAIN);
    co_return;
  }
  const WaitingPlaces::Place waiting(self.signings_, user);
  const TimePoint deadline = self.parts_.loop.now() + self.options_.open_deadline;
  auto task =
      before(self.parts_.loop, deadline + kSignLastResort, "could not look up the signing key",
             self.parts_.signing->resolve(place.id, deadline));
  const auto came = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  const auto tell = [&](const std::string& reason) {
    self.parts_.log.warn("could not read a signing key's public part",
                         {{"id", place.id}, {"reason", reason}});
  };
  if (!came) {
    fuse_reply_err(req, reply->errno_of_giving_up());
  } else if (!*came) {
    const Error& error = came->error();
    tell(error.message);
    fuse_reply_err(req, error.code == Code::kInvalid ? ENOENT : errno_of(error.code));
  } else if (**came == nullptr) {
    fuse_reply_err(req, ENOENT);
  } else if ((**came)->public_key == nullptr) {
    tell((**came)->problem);
    const int damaged = (**came)->damaged ? errno_of(Code::kCorrupt) : EIO;
    fuse_reply_err(req, (**came)->disabled ? EKEYREVOKED : damaged);
  } else {
    reply_public(req, self, file, public_text(place.file, ***came, section));
  }
}

bool FuseHandlers::read_sign(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                             const fuse_file_info& file) {
  FuseOps& self = ops(req);
  const SignNodePtr node = sign_node(self, ino);
  if (node == nullptr) return false;
  if (file.lock_owner == 0) node->paged = true;  // as in ops_key.cc
  // Held: once the reply is out, a RELEASE may end the handle.
  const auto text = self.texts_.find(file.fh);
  if (text == nullptr) {
    fuse_reply_err(req, EBADF);
    return true;
  }
  const size_t from = std::min(static_cast<size_t>(offset), text->size());
  fuse_reply_buf(req, text->data() + from, std::min(size, text->size() - from));
  return true;
}

void FuseHandlers::release_sign(FuseOps& self, fuse_ino_t ino, const fuse_file_info& file) {
  const SignNodePtr node = sign_node(self, ino);
  if (node == nullptr) return;
  if (!self.texts_.remove(file.fh)) return;
  if (node->place.view == SignView::kSignature) self.sign_nodes_.closed(*node);
  // The next reader must see its own.
  if (node->paged.exchange(false)) self.notifier_.drop_pages(ino);
}

}  // namespace keyfs
