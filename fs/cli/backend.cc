#include "fs/cli/backend.h"

#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "kms/factory.h"
#include "store/etcd_store.h"
#include "store/factory.h"

namespace keyfs {
namespace {

// Commands may be run by somebody who must not see the daemon's directory, or before there is one.
std::string usable_state_dir(const Configuration& configuration) {
  const std::string& path = configuration.settings.state_dir;
  return ::access(path.c_str(), R_OK | W_OK | X_OK) == 0 ? path : "";
}

}  // namespace

Backend::Backend(CurlGlobal& curl, const Clock& clock)
    : poller_(curl), loop_(clock, poller_), remote_(loop_, poller_, arena_, random_) {}

Backend::~Backend() { loop_.shutdown(); }

Result<std::unique_ptr<Backend>> Backend::open(const Configuration& configuration, CurlGlobal& curl,
                                               const Clock& clock, RegionObserver* observer) {
  std::unique_ptr<Backend> self(new Backend(curl, clock));
  RemoteParts& remote = self->remote_;
  const RegionParts parts{self->loop_, self->arena_, self->random_,
                          [&](const ConfigSection& section) { return remote.aws_region(section); }};
  auto regions = make_regions(configuration.file, parts);
  if (!regions) return fail(regions.error());
  RegionsOptions options;
  options.create_min_regions = configuration.settings.create_min_regions;
  auto set = Regions::make(self->loop_, std::move(*regions), random_fraction(self->random_), options,
                           observer);
  if (!set) return fail(set.error());
  self->regions_ = std::move(*set);
  StoreParts store_parts{self->loop_, usable_state_dir(configuration), {}, {}};
  store_parts.dynamodb = [&](const ConfigSection& section) {
    return remote.dynamodb_store(section);
  };
  const EtcdParts etcd{self->loop_, self->poller_, self->arena_, self->random_};
  store_parts.etcd = [&](const ConfigSection& section) {
    return make_etcd_store(section, etcd, store_parts.state_dir);
  };
  auto store = make_store(configuration.file, store_parts);
  if (!store) return fail(store.error());
  self->store_ = std::move(*store);
  return self;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "unknown";
  return name.data();
}

Result<std::unique_ptr<Session>> Session::open(const CommonArguments& common, bool make) {
  auto configuration = load_configuration(common);
  if (!configuration) return fail(configuration.error());
  std::unique_ptr<Session> self(new Session(std::move(*configuration)));
  if (!self->configuration.embedded.empty()) {
    SecretArena arena;
    OsRandom random;
    const auto ok = make ? prepare_embedded(self->configuration, arena, random)
                         : check_embedded(self->configuration);
    if (!ok) return fail(ok.error());
  }
  auto backend = Backend::open(self->configuration, self->curl, self->clock, nullptr);
  if (!backend) return fail(backend.error());
  self->backend = std::move(*backend);
  return self;
}

}  // namespace keyfs
