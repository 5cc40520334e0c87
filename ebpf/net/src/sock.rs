#![no_std]
#![no_main]
use kit as _;
