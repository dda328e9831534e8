# Read by CMake as part of Horovod's own `project(horovod)` call, through CMAKE_PROJECT_horovod_INCLUDE (see cmake-wrapper).
# It changes what Horovod's build assumes about the world, and none of Horovod's files.

# Horovod asks for C++14, its Gloo for C++11; torch's headers want C++17 since 2.1 and C++20 since 2.13. Both ask through
# CMAKE_CXX_STANDARD, which they set themselves and which therefore cannot be overridden: what CMake then writes on the
# command line can.
foreach(standard 11 14 17)
  set(CMAKE_CXX${standard}_STANDARD_COMPILE_OPTION "-std=c++20")
endforeach()

# A CUDA compiler that happens to be on the machine is of no use to a torch without CUDA, but Horovod would test and enable it,
# and stop where that compiler and the C++ one do not agree.
if("$ENV{HVDTRAIN_CUDA}" STREQUAL "0")
  set(CMAKE_CUDA_COMPILER "CMAKE_CUDA_COMPILER-NOTFOUND" CACHE FILEPATH "not used" FORCE)
  set(CMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit ON)
endif()
