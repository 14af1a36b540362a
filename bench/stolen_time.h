// CPU time that the hypervisor gave to other guests ("steal" in /proc/stat, see proc(5)), which
// distorts a measurement.
//
// Thread-safety: none. Blocking: reads /proc. Errors: without /proc/stat nothing counts as stolen.
#pragma once

#include <array>
#include <cstdint>
#include <fstream>
#include <string>

class StolenTime {
 public:
  StolenTime() : begin_(read()) {}

  // More than 3 % of all CPU time since construction.
  bool much() const {
    const Ticks now = read();
    return 100 * (now.stolen - begin_.stolen) > 3 * (now.all - begin_.all);
  }

 private:
  struct Ticks {
    int64_t all = 0;
    int64_t stolen = 0;
  };

  static Ticks read() {
    Ticks ticks;
    std::ifstream file("/proc/stat");
    std::string cpu;
    file >> cpu;
    // user nice system idle iowait irq softirq steal; guests are counted as users already
    std::array<int64_t, 8> fields{};
    for (int64_t& field : fields) {
      file >> field;
      ticks.all += field;
    }
    ticks.stolen = fields.back();
    return ticks;
  }

  const Ticks begin_;
};
