#include "fs/daemon/backends.h"

#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "fs/daemon/lost_store_id.h"
#include "fs/daemon/signing_custodies.h"
#include "fs/daemon/state_dir.h"
#include "kms/factory.h"
#include "store/etcd/options.h"
#include "store/etcd/store.h"
#include "store/factory.h"

namespace keyfs {

Backends::Backends(CurlGlobal& curl, const Clock& clock)
    : poller_(curl), loop_(clock, poller_), remote_(loop_, poller_, arena_, random_) {}

Backends::~Backends() { loop_.shutdown(); }

Result<void> Backends::make_regions(const Configuration& configuration, RegionObserver* observer) {
  const RegionParts parts{loop_, arena_, random_, [this](const ConfigSection& section) {
                            return remote_.aws_region(section);
                          }};
  auto regions = keyfs::make_regions(configuration.file, parts);
  if (!regions) return fail(regions.error());
  RegionsOptions options;
  options.create_min_regions = configuration.settings.create_min_regions;
  auto set = Regions::make(loop_, std::move(*regions), random_fraction(random_), options, observer);
  if (!set) return fail(set.error());
  regions_ = std::move(*set);
  return {};
}

Result<void> Backends::check(const Configuration& configuration, CurlGlobal& curl,
                             const Clock& clock) {
  Backends self(curl, clock);
  if (auto made = self.make_regions(configuration, nullptr); !made) return made;
  if (auto good = SigningCustodies::check(configuration, self.remote_); !good) return good;
  StoreParts parts{self.loop_, {}, {}, {}};
  parts.only_check = true;
  parts.dynamodb = [&](const ConfigSection& section) {
    return self.remote_.dynamodb_store(section, {});
  };
  parts.etcd = [](const ConfigSection& section) -> Result<std::unique_ptr<Store>> {
    if (const auto options = read_etcd_options(section); !options) return fail(options.error());
    return nullptr;
  };
  auto store = make_store(configuration.file, parts);
  if (!store) return fail(store.error());
  self.store_ = std::move(*store);
  return {};
}

Result<std::unique_ptr<Backends>> Backends::open(const Configuration& configuration,
                                                 CurlGlobal& curl, const Clock& clock,
                                                 RegionObserver* observer,
                                                 const FindStateDir& state_dir,
                                                 bool may_make_database) {
  std::unique_ptr<Backends> self(new Backends(curl, clock));
  if (auto made = self->make_regions(configuration, observer); !made) return fail(made.error());
  RemoteParts& remote = self->remote_;
  auto known_in = state_dir ? state_dir()
                            : Result<std::string>(StateDir::for_known_store_of_command(
                                  configuration.settings.state_dir));
  if (!known_in) return fail(known_in.error());
  const ConfigSection* section = configuration.file.find("store");
  const auto* type = section == nullptr ? nullptr : section->find("type");
  if (type != nullptr) {
    const std::string& dir = configuration.settings.state_dir;
    if (auto found = find_lost_store_id(clock, dir, type->value); !found) {
      if (found.error().code == Code::kInvalid) return fail(found.error());
      // Keys can be read from it. It is not remembered as ours either.
      self->doubt_ = found.error();
      known_in->clear();
    }
  }
  StoreParts store_parts{
      self->loop_, std::move(*known_in), {}, {}, may_make_database && !self->doubt_};
  store_parts.dynamodb = [&](const ConfigSection& section) {
    return remote.dynamodb_store(section, store_parts.state_dir);
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

}  // namespace keyfs
