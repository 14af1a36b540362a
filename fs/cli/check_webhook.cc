#include "fs/cli/check_webhook.h"

#include "base/host.h"
#include "base/http.h"
#include "fs/rotation/webhook.h"

namespace keyfs {

CheckItem check_webhook(SecretArena& arena, const std::string& file) {
  CheckItem item{"webhook", true, file, "", false};
  const auto url = Webhook::read_url(arena, file);
  if (!url) {
    item.ok = false;
    item.detail = url.error().message;
    item.remedy =
        "until then no message is sent; rotations go on, and consumers are told, all the same";
    return item;
  }
  std::string text(url->reveal_text());
  item.detail += ": " + host_of(text);  // all of it that may be shown
  if (is_plain_to_another_machine(text)) {
    item.detail += ", by http://: whoever is on the network can read the URL, and write there";
  }
  wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return item;
}

}  // namespace keyfs
