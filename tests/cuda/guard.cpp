// A CUDA device guard and CUDA hooks without a GPU: a CPU build of torch then accepts tensors that report a CUDA device,
// its autograd engine runs a thread for each of them, and pinned memory is ordinary memory that is known as pinned.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace {

using c10::Device, c10::DeviceIndex, c10::DeviceType, c10::Stream;

DeviceIndex device_count = 1;
thread_local DeviceIndex current = 0;  // as in CUDA: each thread starts on device 0

DeviceIndex exchange(DeviceIndex index) {
  const DeviceIndex before = current;
  if (index >= 0) current = index;
  return before;
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device device) const override { return {DeviceType::CUDA, exchange(device.index())}; }
  Device getDevice() const override { return {DeviceType::CUDA, current}; }
  void setDevice(Device device) const override { exchange(device.index()); }
  void uncheckedSetDevice(Device device) const noexcept override { exchange(device.index()); }
  Stream getStream(Device device) const override {
    return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, device.has_index() ? device.index() : current));
  }
  Stream getDefaultStream(Device device) const override { return getStream(device); }
  Stream getNewStream(Device device, int) const override { return getStream(device); }
  Stream exchangeStream(Stream stream) const override { return stream; }
  DeviceIndex deviceCount() const noexcept override { return device_count; }
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}
};

class PinnedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* start = std::malloc(bytes ? bytes : 1);
    TORCH_CHECK_WITH(OutOfMemoryError, start, "out of pinned memory");
    const std::lock_guard lock(mutex_);
    blocks_[start] = bytes;
    return {start, start, &release, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  static bool holds(const void* address) {
    const std::lock_guard lock(mutex_);
    auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) return false;
    --next;
    return address < static_cast<const char*>(next->first) + (next->second ? next->second : 1);
  }

 private:
  static void release(void* start) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(start);
    std::free(start);
  }
  static inline std::mutex mutex_;
  static inline std::map<const void*, size_t> blocks_;
};

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return device_count; }
  DeviceIndex deviceCount() const override { return device_count; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { exchange(index); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override { return exchange(index); }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override { return exchange(index); }
  bool isPinnedPtr(const void* address) const override { return PinnedMemory::holds(address); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedMemory allocator;
    return &allocator;
  }
};

c10::impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, new Guard());

}  // namespace

namespace at {
using CUDAHooks = ::Hooks;
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, CUDAHooks)
}  // namespace at

extern "C" {
void simulated_cuda_set_device_count(int count) { device_count = static_cast<DeviceIndex>(count); }
int simulated_cuda_get_device() { return current; }
int simulated_cuda_exchange_device(int index) { return exchange(static_cast<DeviceIndex>(index)); }
}
