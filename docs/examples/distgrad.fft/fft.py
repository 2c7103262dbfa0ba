"""Examples of distgrad.fft."""

import distgrad as dg
from distgrad import fft

x = dg.tensor([1.0, 2.0, 0.0, -1.0])
image = dg.tensor([[1.0, 2.0], [3.0, 4.0]])
half = fft.rfft(x)
half_of_image = fft.rfft2(image)

# Examples

fft.fft(x)

fft.fft2(image)

fft.fftfreq(4, d=0.5)

fft.fftn(image)

fft.fftshift(fft.fftfreq(4))

fft.hfft(half, n=4)

fft.hfft2(half_of_image, s=(2, 2))

fft.hfftn(half_of_image, s=(2, 2))

fft.ifft(fft.fft(x)).real

fft.ifft2(fft.fft2(image)).real

fft.ifftn(fft.fftn(image)).real

fft.ifftshift(fft.fftshift(x))

fft.ihfft(x)

fft.ihfft2(image)

fft.ihfftn(image)

fft.irfft(half, n=4)

fft.irfft2(half_of_image, s=(2, 2))

fft.irfftn(half_of_image, s=(2, 2))

fft.rfft(x)

fft.rfft2(image)

fft.rfftfreq(4)

fft.rfftn(image)
