#include "fs/rotation/settings.h"

#include <charconv>

#include "base/config_reader.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

std::optional<unsigned> read_stop_after(ConfigReader& in, std::optional<unsigned> fallback) {
  const auto text = in.string("stop_after");
  if (!text) return fallback;
  if (*text == "off") return std::nullopt;
  unsigned percent = 0;
  const auto [rest, error] = std::from_chars(text->data(), text->data() + text->size(), percent);
  if (error != std::errc() || std::string_view(rest) != "%" || percent < 1 || percent > 100) {
    in.mistake("stop_after", "must be a part of the consumers, 1% to 100%, or off");
  }
  return percent;
}

std::string duration_text(RotationSettings::Milliseconds time) {
  struct Unit {
    int64_t length;
    const char* name;
  };
  for (const Unit& unit :
       {Unit{86'400'000, "d"}, Unit{3'600'000, "h"}, Unit{60'000, "m"}, Unit{1000, "s"}}) {
    if (time.count() != 0 && time.count() % unit.length == 0) {
      return std::to_string(time.count() / unit.length) + unit.name;
    }
  }
  return std::to_string(time.count()) + "ms";
}

}  // namespace

Result<RotationSettings> read_rotation_settings(const ConfigFile& file) {
  RotationSettings settings;
  const ConfigSection none(file.name(), "rotation", "", 1);
  const ConfigSection* found = file.find("rotation");
  ConfigReader in(found != nullptr ? *found : none);
  settings.run = in.boolean("run", settings.run);
  settings.settle = in.duration("settle", settings.settle, 0ms, 1h);
  settings.poll_every = in.duration("poll_every", settings.poll_every, 1s, 1h);
  settings.pulse_shards =
      static_cast<unsigned>(in.integer("pulse_shards", settings.pulse_shards, 1, 100));
  settings.parallel = static_cast<unsigned>(in.integer("parallel", settings.parallel, 1, 1000));
  settings.stop_after_percent = read_stop_after(in, settings.stop_after_percent);
  settings.webhook_file = in.string("webhook_file", "");
  if (!settings.webhook_file.empty() && settings.webhook_file[0] != '/') {
    // The value is not quoted: a URL may have been written here by mistake.
    in.mistake("webhook_file", "must be the absolute path of a file that holds the URL");
  }
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  return settings;
}

std::string rotation_settings_text(const RotationSettings& settings) {
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  std::string text = "[rotation]\n";
  text += std::string("run = ") + yes(settings.run) + "\n";
  text += "settle = " + duration_text(settings.settle) + "\n";
  text += "poll_every = " + duration_text(settings.poll_every) + "\n";
  text += "pulse_shards = " + std::to_string(settings.pulse_shards) + "\n";
  text += "parallel = " + std::to_string(settings.parallel) + "\n";
  text +=
      "stop_after = " +
      (settings.stop_after_percent ? std::to_string(*settings.stop_after_percent) + "%" : "off") +
      "\n";
  if (!settings.webhook_file.empty()) text += "webhook_file = " + settings.webhook_file + "\n";
  return text;
}

}  // namespace keyfs
