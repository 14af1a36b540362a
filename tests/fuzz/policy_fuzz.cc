// Any text as a policy: loaded or refused with one line; decisions keep their promises.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "fs/policy/policy.h"

namespace {

class NoNames final : public keyfs::NameService {
 public:
  keyfs::Result<std::optional<uid_t>> uid_of(const std::string& user) override {
    return user == "app" ? std::optional<uid_t>(1000) : std::nullopt;
  }
  keyfs::Result<std::optional<gid_t>> gid_of(const std::string& group) override {
    return group == "app" ? std::optional<gid_t>(1000) : std::nullopt;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The first line is an id to decide about, and a pattern too.
  const std::string_view id = text.substr(0, text.find('\n'));
  if (auto glob = keyfs::Glob::parse(id)) (void)glob->matches(text.substr(0, 255));
  const auto file = keyfs::ConfigFile::parse(text.substr(id.size()), "fuzz");
  if (!file) return 0;
  NoNames names;
  const auto policy = keyfs::Policy::load(*file, names);
  if (!policy) {
    if (policy.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  keyfs::KnownGroups groups({1, 1000});
  for (const uid_t uid : {0u, 1000u}) {
    const keyfs::Caller caller{uid, uid};
    const keyfs::Decision decision = (*policy)->decide(id, caller, groups);
    if (decision.create && !decision.read) std::abort();
    if (decision.hidden() && (decision.read || decision.admin)) std::abort();
    if (decision.read != keyfs::Policy::may_read(*decision.section, caller, groups)) std::abort();
    (void)(*policy)->explain(id, caller, groups);
    const keyfs::SignSection& section = (*policy)->sign_section_for(id);
    const keyfs::SignDecision signing = section.decide(caller, groups);
    if (signing.use && !signing.see) std::abort();
    if (section.hidden && (signing.see || signing.create || signing.admin)) std::abort();
    if (signing.see != section.may_see(caller, groups)) std::abort();
  }
  return 0;
}
