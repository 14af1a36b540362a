#include "fs/policy/principals.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>

#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// Retries with a larger buffer as long as the database returns ERANGE.
template <class Entry, class Ask>
Result<std::optional<Entry>> ask_names(Ask ask) {
  std::vector<char> buffer(1024);
  for (;;) {
    Entry entry{};
    Entry* found = nullptr;
    const int error = ask(&entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < (size_t{16} << 20)) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    if (found != nullptr) return std::optional<Entry>(*found);
    // What glibc's modules return if there is no such name.
    if (error == 0 || error == ENOENT || error == ESRCH) return std::optional<Entry>();
    return fail(Code::kUnavailable, std::strerror(error));
  }
}

std::optional<uint32_t> id_number(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // (uid_t)-1 stands for "nobody" in system calls.
  if (number == std::numeric_limits<uint32_t>::max()) return std::nullopt;
  return number;
}

// One item of a list, e.g. "user:app".
void read_principal(ConfigReader& in, std::string_view key, const std::string& item,
                    NameService& names, Principals& list) {
  if (item == "any") {
    list.any = true;
    return;
  }
  const size_t colon = item.find(':');
  const std::string kind = item.substr(0, colon);
  const std::string name = colon == item.npos ? "" : item.substr(colon + 1);
  const auto add = [](auto& numbers, auto number) {
    if (std::find(numbers.begin(), numbers.end(), number) == numbers.end()) {
      numbers.push_back(number);
    }
  };
  const auto resolve = [&](auto result, const char* what, auto& numbers) {
    if (!result) {
      in.mistake(key, "could not look up " + std::string(what) + " \"" + name +
                          "\": " + result.error().message);
    } else if (!*result) {
      in.mistake(key, "there is no " + std::string(what) + " \"" + name + "\"");
    } else {
      add(numbers, **result);
    }
  };
  if (!name.empty() && kind == "user") {
    resolve(names.uid_of(name), "user", list.uids);
  } else if (!name.empty() && kind == "group") {
    resolve(names.gid_of(name), "group", list.gids);
  } else if (!name.empty() && (kind == "uid" || kind == "gid")) {
    const auto number = id_number(name);
    if (!number) {
      in.mistake(key, "\"" + item + "\" needs a number from 0 to 4294967294");
    } else {
      add(kind == "uid" ? list.uids : list.gids, *number);
    }
  } else {
    in.mistake(key, "\"" + item + "\" is neither user:NAME, uid:N, group:NAME, gid:N, nor any");
  }
}

}  // namespace

Result<std::optional<uid_t>> SystemNames::uid_of(const std::string& user) {
  auto entry = ask_names<passwd>([&](passwd* out, char* buffer, size_t size, passwd** found) {
    return getpwnam_r(user.c_str(), out, buffer, size, found);
  });
  if (!entry) return fail(entry.error());
  if (!*entry) return std::optional<uid_t>();
  return std::optional<uid_t>((*entry)->pw_uid);
}

Result<std::optional<gid_t>> SystemNames::gid_of(const std::string& group) {
  auto entry = ask_names<::group>([&](::group* out, char* buffer, size_t size, ::group** found) {
    return getgrnam_r(group.c_str(), out, buffer, size, found);
  });
  if (!entry) return fail(entry.error());
  if (!*entry) return std::optional<gid_t>();
  return std::optional<gid_t>((*entry)->gr_gid);
}

bool Principals::name_user(const Caller& caller) const {
  return any || std::find(uids.begin(), uids.end(), caller.uid) != uids.end() ||
         std::find(gids.begin(), gids.end(), caller.gid) != gids.end();
}

bool Principals::name_group(std::span<const gid_t> groups) const {
  return std::any_of(groups.begin(), groups.end(), [this](gid_t gid) {
    return std::find(gids.begin(), gids.end(), gid) != gids.end();
  });
}

Principals read_principals(ConfigReader& in, std::string_view key, NameService& names) {
  Principals list;
  const ConfigSection::Entry* entry = in.section().find(key);
  for (const std::string& item : in.list(key)) read_principal(in, key, item, names, list);
  if (entry != nullptr) {
    list.text = entry->value;
    list.line = entry->line;
  }
  return list;
}

std::optional<std::string> hopeless(std::string_view pattern) {
  for (const char c : pattern) {
    if (std::string_view("*?[]!").find(c) != std::string_view::npos) continue;
    const char probe[2] = {'a', c};
    if (!is_key_id({probe, 2})) {
      return "the pattern has a character that no key id can have, so it matches nothing";
    }
  }
  return std::nullopt;
}

std::string fingerprint_of(const Principals& list) {
  std::string text = std::to_string(list.line) + (list.any ? "any" : "");
  for (const uid_t uid : list.uids) text += " u" + std::to_string(uid);
  for (const gid_t gid : list.gids) text += " g" + std::to_string(gid);
  return text + "|" + list.text + "\n";
}

bool Asker::named_in(const Principals& list) {
  if (list.name_user(caller_)) return true;
  if (list.gids.empty()) return false;
  if (!asked_) {
    known_ = groups_.get();
    asked_ = true;
  }
  return known_ && list.name_group(*known_);
}

std::string place_of(const PolicyPlace& section) {
  if (section.line == 0) return "set by " + section.file;
  return section.file + ":" + std::to_string(section.line);
}

}  // namespace keyfs
