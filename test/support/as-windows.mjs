// For --import: what asks which system this is hears Windows.
Object.defineProperty(process, 'platform', { value: 'win32' });
