// Where memory lives and work runs. Maps one to one to DLPack's device type and id.
#pragma once

namespace sluice {

enum class DeviceKind : unsigned char { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

}  // namespace sluice
