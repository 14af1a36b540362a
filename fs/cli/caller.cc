#include "fs/cli/caller.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

struct Account {
  std::string name;
  uid_t uid;
  gid_t gid;
};

template <class Ask>
std::optional<Account> ask_database(Ask ask) {
  std::vector<char> buffer(4096);
  passwd entry{};
  passwd* found = nullptr;
  while (ask(entry, buffer, found) == ERANGE && buffer.size() < (size_t{1} << 20))
    buffer.resize(buffer.size() * 2);
  if (found == nullptr) return std::nullopt;
  return Account{entry.pw_name, entry.pw_uid, entry.pw_gid};
}

std::optional<Account> account_of(uid_t uid) {
  return ask_database([uid](passwd& entry, std::vector<char>& buffer, passwd*& found) {
    return ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  });
}

std::optional<Account> account_of(const std::string& name) {
  return ask_database([&name](passwd& entry, std::vector<char>& buffer, passwd*& found) {
    return ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  });
}

std::vector<gid_t> groups_of(const Account& account) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  while (::getgrouplist(account.name.c_str(), account.gid, groups.data(), &count) < 0) {
    groups.resize(std::max(static_cast<size_t>(count), groups.size() * 2));
    count = static_cast<int>(groups.size());
  }
  groups.resize(static_cast<size_t>(count));
  return groups;
}

std::string name_of(uid_t uid) {
  const auto account = account_of(uid);
  return account ? account->name : "uid " + std::to_string(uid);
}

}  // namespace

bool are_key_ids(const std::vector<std::string>& ids, Output& output) {
  bool all = true;
  for (const std::string& id : ids) {
    if (is_key_id(id)) continue;
    output.error("\"" + id + "\" is not a valid key id: " + std::string(kKeyIdRule));
    all = false;
  }
  return all;
}

std::string User::text() const {
  const std::string number = "uid " + std::to_string(caller.uid);
  return name == number ? name : name + " (" + number + ")";
}

User invoking_user() {
  User user;
  user.caller = {::geteuid(), ::getegid()};
  user.name = name_of(user.caller.uid);
  const int count = ::getgroups(0, nullptr);
  if (count > 0) {
    user.groups.resize(static_cast<size_t>(count));
    const int got = ::getgroups(count, user.groups.data());
    user.groups.resize(got > 0 ? static_cast<size_t>(got) : 0);
  }
  return user;
}

Result<User> find_user(const std::string& name_or_number) {
  auto account = account_of(name_or_number);
  if (!account) {
    uid_t uid = 0;
    const char* end = name_or_number.data() + name_or_number.size();
    const auto [stop, error] = std::from_chars(name_or_number.data(), end, uid);
    if (error != std::errc() || stop != end)
      return fail(Code::kInvalid, "there is no user " + name_or_number);
    account = account_of(uid);
    if (!account) return User{{uid, static_cast<gid_t>(uid)}, {}, "uid " + std::to_string(uid)};
  }
  return User{{account->uid, account->gid}, groups_of(*account), account->name};
}

Permission permission_for(const Policy& policy, std::string_view id, const User& user) {
  KnownGroups groups(user.groups);
  const Decision decision = policy.decide(id, user.caller, groups);
  Permission permission;
  permission.section = decision.section;
  permission.administer = decision.admin;
  permission.create = decision.create || decision.admin;
  permission.see = decision.read || decision.admin || policy.is_admin(user.caller, groups);
  return permission;
}

Error refusal(const Permission& permission, const User& user, std::string_view verb,
              std::string_view id, std::string_view entries) {
  const PolicySection& section = *permission.section;
  std::string message =
      user.text() + " may not " + std::string(verb) + " " + std::string(id) + ": ";
  if (section.hidden) {
    message += "no [keys ...] section matches it";
  } else {
    message += section.title + " (" + place_of(section) + ") does not name them in " +
               std::string(entries);
  }
  return {Code::kDenied, std::move(message)};
}

}  // namespace keyfs
