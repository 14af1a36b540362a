#include "store/known_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

std::string file_in(const std::string& state_dir) { return state_dir + "/store-id"; }

std::string accepted_in(const std::string& state_dir) { return state_dir + "/store-accepted"; }

bool is_word(const std::string& text) {
  return !text.empty() && text.size() <= 200 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string to_line(const StoreName& store) {
  return store.type + " " + store.id + (store.life.empty() ? "" : " " + store.life) + "\n";
}

std::optional<StoreName> from_line(std::string text) {
  if (text.empty() || text.back() != '\n') return std::nullopt;
  text.pop_back();
  StoreName name;
  std::string* const fields[] = {&name.type, &name.id, &name.life};
  size_t begin = 0;
  for (size_t field = 0; field < 3 && begin <= text.size(); ++field) {
    const size_t gap = std::min(text.find(' ', begin), text.size());
    *fields[field] = text.substr(begin, gap - begin);
    if (!is_word(*fields[field])) return std::nullopt;
    begin = gap + 1;
  }
  if (name.id.empty() || begin <= text.size()) return std::nullopt;
  return name;
}

// Both describe the same place, but differ.
bool is_another_life(const std::string& known, const std::string& now) {
  const size_t slash = known.find('/');
  return slash != std::string::npos && now.starts_with(known.substr(0, slash + 1)) && now != known;
}

// `first`: an existing file stays, since of two processes the first wins, and the other one
// compares.
Result<void> write_file(const std::string& state_dir, const std::string& text, bool first) {
  if (::mkdir(state_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(os_error(state_dir, "cannot be created"));
  }
  return write_whole_file(file_in(state_dir), text, !first);
}

}  // namespace

Result<std::optional<StoreName>> read_known_store(const std::string& state_dir) {
  const std::string path = file_in(state_dir);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) {
    if (errno == ENOENT) return std::nullopt;
    return fail(os_error(path, "cannot be read"));
  }
  if (auto regular = check_regular(path, file); !regular) return fail(std::move(regular.error()));
  std::string text(512, '\0');
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail(os_error(path, "cannot be read"));
  text.resize(static_cast<size_t>(size));
  if (auto name = from_line(std::move(text))) return name;
  return fail(Code::kCorrupt, path + ": is damaged; if the configured store is the right one, " +
                                  accept_store_hint());
}

Result<void> check_known_store(const std::string& state_dir, const StoreName& store,
                               const std::string& where) {
  auto known = read_known_store(state_dir);
  if (!known) return fail(std::move(known.error()));
  if (!*known) {
    auto ok = write_file(state_dir, to_line(store), true);
    if (!ok) return ok;
    known = read_known_store(state_dir);
    if (!known) return fail(std::move(known.error()));
    ::unlink(accepted_in(state_dir).c_str());  // one word is for one store
  }
  const StoreName& name = **known;
  if (name.type == store.type && name.id == store.id) {
    if (is_another_life(name.life, store.life)) {
      return fail(Code::kInvalid,
                  where + ": was restored from a backup since this host last used it (it is " +
                      store.life + " now, and was " + name.life +
                      "); ids created after "
                      "the backup could get a second key. If this is intended, " +
                      accept_store_hint());
    }
    if (store.life.empty() || store.life == name.life) return {};
    // If it can't be recorded, a later restore goes unnoticed; but this is the right store.
    (void)write_file(state_dir, to_line(store), false);
    return {};
  }
  return fail(Code::kInvalid,
              where + ": is not the store that this host has used so far (" + name.type + " " +
                  name.id + ", remembered in " + file_in(state_dir) +
                  "); ids could get a second key. If this is intended, " + accept_store_hint());
}

Result<void> check_known_type(const std::string& state_dir, const std::string& type) {
  if (state_dir.empty()) return {};
  const auto known = read_known_store(state_dir);
  if (!known) return fail(known.error());
  if (!*known || (*known)->type == type) return {};
  return fail(Code::kInvalid, "[store] type = " + type + ": this host has used a store of type " +
                                  (*known)->type + " so far (remembered in " + file_in(state_dir) +
                                  "); ids could get a second key. If this is "
                                  "intended, " +
                                  accept_store_hint());
}

Error lost_store(const std::string& state_dir, const Error& why) {
  return Error(why.code, why.message +
                             "; this host has used the store before, and its ids "
                             "could get a second key (" +
                             file_in(state_dir) +
                             " names it). Restore it, or, to start with a new one, " +
                             accept_store_hint());
}

std::string accept_store_hint() { return "run keyfs check --accept-store and restart keyfs"; }

Result<void> remember_store(const std::string& state_dir, const StoreName& store) {
  return write_file(state_dir, to_line(store), true);
}

bool may_be_any_store(const std::string& state_dir) {
  return ::access(accepted_in(state_dir).c_str(), F_OK) == 0;
}

Result<bool> forget_known_store(const std::string& state_dir) {
  bool any = false;
  // First: a store that is forgotten, and yet not accepted, would be refused again.
  if (::access(state_dir.c_str(), F_OK) == 0) {
    if (auto ok = write_whole_file(accepted_in(state_dir), "", true); !ok) {
      return fail(std::move(ok.error()));
    }
  }
  for (const char* name : {"/store-id", "/etcd-cluster"}) {
    const std::string path = state_dir + name;
    if (::unlink(path.c_str()) == 0) {
      any = true;
    } else if (errno != ENOENT) {
      return fail(os_error(path, "cannot be removed"));
    }
  }
  if (any) (void)sync_directory(state_dir);
  return any;
}

Result<void> check_origin(const Record& record, const std::string& store_id) {
  if (record.origin.empty() || record.origin == store_id) return {};
  return fail(Code::kCorrupt, "record of key " + record.id + " is bound to another store (" +
                                  record.origin + "; this host knows " + store_id +
                                  "): this host knows a store that is no longer here, or the "
                                  "record was copied here, or written by a host that took this "
                                  "store for the one that was here before. It is served to "
                                  "nobody. keyfs check says whether this is the store that this "
                                  "host knows; only if it is, delete the record from it");
}

Result<void> check_may_write(const Record& record, const std::string& store_id) {
  if (check_origin(record, store_id)) return {};
  return fail(Code::kInvalid, "record of key " + record.id + " is bound to another store");
}

Result<Record> parse_own_record(std::string_view json, std::string_view id,
                                const std::string& store_id) {
  auto record = parse_record(json, id);
  if (!record) return record;
  if (auto ok = check_origin(*record, store_id); !ok) return fail(std::move(ok.error()));
  return record;
}

}  // namespace keyfs
