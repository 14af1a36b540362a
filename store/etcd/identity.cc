#include "store/etcd/identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "base/file.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

constexpr size_t kMaxFile = 4096;

std::string file_in(const std::string& state_dir) { return state_dir + "/etcd-cluster"; }

std::string hex(uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

template <class Number>
bool parse(const std::string& text, Number& out, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::string to_text(const EtcdKnown& known) {
  return "cluster " + hex(known.cluster_id) + "\nstore " + known.store_id + "\nrevision " +
         std::to_string(known.revision) + "\nbehind " + (known.behind ? "1" : "0") + "\n";
}

std::optional<EtcdKnown> from_text(const std::string& text) {
  EtcdKnown known;
  std::istringstream in(text);
  std::string name;
  std::string value;
  int seen = 0;
  while (in >> name >> value) {
    if (name == "cluster" && !parse(value, known.cluster_id, 16)) return std::nullopt;
    if (name == "revision" && !parse(value, known.revision, 10)) return std::nullopt;
    if (name == "store") known.store_id = value;
    if (name == "behind") known.behind = value != "0";
    if (name == "cluster" || name == "revision" || name == "store" || name == "behind") ++seen;
  }
  const bool whole = seen == 4 && known.cluster_id != 0 && text.back() == '\n';
  if (!whole || to_text(known) != text) return std::nullopt;
  return known;
}

}  // namespace

Result<std::optional<EtcdKnown>> EtcdIdentity::load(const std::string& state_dir) {
  if (state_dir.empty()) return std::nullopt;
  const std::string path = file_in(state_dir);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) {
    if (errno == ENOENT) return std::nullopt;
    return fail(os_error(path, "cannot be read"));
  }
  std::string text(kMaxFile, '\0');
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail(os_error(path, "cannot be read"));
  text.resize(static_cast<size_t>(size));
  auto known = text.empty() ? std::nullopt : from_text(text);
  if (!known) {
    return fail(Code::kCorrupt, path +
                                    ": is damaged; if the configured etcd cluster is the right "
                                    "one, " +
                                    accept_store_hint());
  }
  return known;
}

Result<void> EtcdIdentity::store(const std::string& state_dir, EtcdKnown known) {
  if (state_dir.empty()) return {};
  const StoreName name{"etcd", known.store_id};
  if (auto ok = check_known_store(state_dir, name, "the etcd cluster"); !ok) return ok;
  if (::mkdir(state_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(os_error(state_dir, "cannot be created"));
  }
  const auto before = load(state_dir);
  if (!before) return fail(before.error());
  if (*before) {
    if ((*before)->cluster_id != known.cluster_id || (*before)->store_id != known.store_id) {
      return fail(Code::kInvalid, file_in(state_dir) + ": now names another etcd cluster");
    }
    known.revision = std::max(known.revision, (*before)->revision);
    known.behind = known.behind || (*before)->behind;
    if (known == **before) return {};
  }
  const bool first = !*before;
  if (auto ok = write_whole_file(file_in(state_dir), to_text(known), !first, 0644); !ok) return ok;
  // Of two processes that use their first cluster at the same time, the first one wins.
  return first ? store(state_dir, std::move(known)) : Result<void>();
}

Result<void> EtcdIdentity::update(const std::string& state_dir, EtcdKnown known) {
  const auto before = load(state_dir);
  if (!before) return fail(before.error());
  return *before ? store(state_dir, std::move(known)) : Result<void>();
}

EtcdIdentity::EtcdIdentity(std::string state_dir, std::optional<EtcdKnown> known)
    : state_dir_(std::move(state_dir)), known_(known.value_or(EtcdKnown{})), saved_(known_) {}

std::string EtcdIdentity::file() const {
  return state_dir_.empty() ? "(no state_dir)" : file_in(state_dir_);
}

std::string EtcdIdentity::remedy() const {
  return state_dir_.empty() ? "restart keyfs if this is intended"
                            : "if this is intended, " + accept_store_hint() + " (" + file() +
                                  " remembers the other)";
}

Result<void> EtcdIdentity::accept_cluster(const EtcdHeader& header) const {
  if (!is_known() || header.cluster_id == known_.cluster_id) return {};
  return fail(Code::kInvalid,
              "belongs to another etcd cluster (" + hex(header.cluster_id) +
                  ") than the one that this host has used so far (" + hex(known_.cluster_id) +
                  "); ids that have a key there could get a second one: " + remedy());
}

void EtcdIdentity::note(const EtcdHeader& header, int64_t sent_at_mark) {
  if (!is_known() || header.cluster_id != known_.cluster_id) return;
  if (header.revision < sent_at_mark) known_.behind = true;
  known_.revision = std::max(known_.revision, header.revision);
}

Result<void> EtcdIdentity::establish(const EtcdHeader& header, const std::string& store_id) {
  if (auto ok = accept_cluster(header); !ok) return ok;
  if (is_known() && known_.store_id != store_id) {
    return fail(Code::kInvalid,
                "the etcd cluster has lost its data and was recreated since this host last used "
                "it; ids could get a second key: " +
                    remedy());
  }
  known_.cluster_id = header.cluster_id;
  known_.store_id = store_id;
  known_.revision = std::max(known_.revision, header.revision);
  established_ = true;
  return {};
}

Result<void> EtcdIdentity::may_found(const EtcdHeader& header) const {
  if (auto ok = accept_cluster(header); !ok) return ok;
  if (!is_known()) return {};
  return fail(Code::kInvalid,
              "the etcd cluster has lost the records that this host has used before (there is no "
              "store-id under the prefix); ids could get a second key. Restore it, or, " +
                  remedy());
}

Result<void> EtcdIdentity::may_create() const {
  if (!known_.behind) return {};
  return fail(Code::kInvalid,
              "the etcd cluster has gone back in time (it was restored from an older backup, or "
              "lost writes that it had acknowledged); ids created since could get a second "
              "key: " +
                  remedy());
}

bool EtcdIdentity::unsaved_but_revision() const {
  return established_ && (saved_.cluster_id != known_.cluster_id ||
                          saved_.store_id != known_.store_id || saved_.behind != known_.behind);
}

}  // namespace keyfs
